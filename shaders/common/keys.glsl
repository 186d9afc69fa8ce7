// Keys that order tokens by their logits: the higher logit first, among equals the lower id. No two tokens have the same
// key, so whatever finds the highest keys finds the same tokens in any order of work. A value that is no number comes last.
uint64_t key_of(float value, uint id) {
  uint bits = floatBitsToUint(value);
  bits = (bits << 1) == 0u ? 0u : bits; // both zeros are one
  const uint order = (bits & 0x7fffffffu) > 0x7f800000u ? 0u : (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
  // Not packUint2x32: the software device of Mesa 26.2 overruns its compiler's stack with it where vectors have 512 bits.
  return (uint64_t(order) << 32) | uint64_t(~id);
}

uint id_of(uint64_t key) {
  return ~uint(key);
}
