#!/usr/bin/env python3
# Writes the SPIR-V modules given as NAME=FILE to one C file, by their numbers in backend/vulkan/vulkan.h.
import sys

out, modules = sys.argv[1], [arg.split('=', 1) for arg in sys.argv[2:]]
with open(out, 'w') as c:
    c.write('#include "backend/vulkan/vulkan.h"\n\n')
    for name, path in modules:
        data = open(path, 'rb').read()
        words = [int.from_bytes(data[i:i + 4], 'little') for i in range(0, len(data), 4)]
        c.write(f'static const uint32_t {name}[] = {{\n')
        for i in range(0, len(words), 8):
            c.write('  ' + ' '.join(f'0x{word:08x},' for word in words[i:i + 8]) + '\n')
        c.write('};\n\n')
    c.write('const em_vk_spirv em_vk_spirvs[EM_VK_N_MODULES] = {\n')
    for name, _ in modules:
        shader, _, format = name.partition('_')
        number = f'EM_VK_SHADER_{shader.upper()}'
        if format:
            number = f'EM_VK_MODULE({number}, EM_VK_FORMAT_{format})'
        c.write(f'  [{number}] = {{"{name}", {name}, sizeof {name}}},\n')
    c.write('};\n')
