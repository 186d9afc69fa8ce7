/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Chat templates: what they print, where it comes from, what is refused and how soon. */
#include "check.h"

#include <time.h>

#include "text/template/template.h"

#define HELLO "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"x\":\"dAtA\",\"n\":3,\"bos_token\":\"<s>\"}"

static em_status try_render(const char *source, size_t bytes, const char *context, em_rendered *out, em_error *error) {
  em_template *template_ = NULL;
  em_arena *arena = em_arena_new(0);
  const em_json *json;
  em_status status = em_json_parse(arena, context, strlen(context), 0, &json, error);
  if (status == EM_OK)
    status = em_template_new(source, bytes, &template_, error);
  if (status == EM_OK)
    status = em_template_render(template_, json, 1732060800, out, error); /* 20 November 2024, 00:00 */
  em_template_free(template_);
  em_arena_free(arena);
  return status;
}

/* --- What is printed -------------------------------------------------------------------------------------------------- */

static void prints(const char *source, const char *expected) {
  em_rendered rendered = {0};
  em_error error = {0};
  em_status status = try_render(source, strlen(source), HELLO, &rendered, &error);
  if (status != EM_OK)
    fprintf(stderr, "%s: %s\n", source, error.text);
  CHECK_TEXT(rendered.text, expected);
  em_rendered_clear(&rendered);
}

static void check_printing(void) {
  prints("", "");
  prints("a\n", "a");
  prints("a\r\nb\r\n\r\n", "a\nb\n");
  prints("  {% if true %}  \n  a\n  {% endif %}\n  b", "  \n  a\n  b");
  prints("  {%+ if true %}a{% endif +%}\nb", "  a\nb");
  prints("a{# c #}\nb {#- d -#} e", "abe");
  prints("{% raw %}{{ x }}{% endraw %}", "{{ x }}");
  prints("{%- raw -%}  {% x %}  {%- endraw -%}  y", "{% x %}y");
  prints("{{ '\\x41\\u00e9\\n\\q\\101' }}", "A\xC3\xA9\n\\qA");
  prints("{{ 0x1F }} {{ 1_000 }} {{ 0b11 }} {{ 1e3 }} {{ 2.5e-5 }} {{ 1e16 }} {{ 123456789012345680.0 }}",
         "31 1000 3 1000.0 2.5e-05 1e+16 1.2345678901234568e+17");
  prints("{{ 0.1 + 0.2 }} {{ 1 / 3 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 5.5 % -2 }}",
         "0.30000000000000004 0.3333333333333333 -4 2 1024 0.5 -0.5");
  prints("{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'abc' and not 'd' in 'abc' }}", "True False True");
  prints("{{ [1, 'a\\'b', none, 1.0, {'k': (1,)}] }}", "[1, \"a'b\", None, 1.0, {'k': (1,)}]");
  prints("{{ {1: 'a', true: 'b', 1.0: 'c'} }}", "{1: 'c'}");
  prints("{% set d = {} %}{% for i in range(100) %}{% set _ = d.update({i: i * i}) %}{% endfor %}"
         "{{ d[99] }} {{ d | length }} {{ d.pop(50) }} {{ d[51] }} {{ 50 in d }}", "9801 100 2500 2601 False");
  prints("{% for a, b in [(1, 2), (3, 4)] if a > 1 %}{{ loop.index }}{{ loop.last }}{{ a + b }}{% endfor %}", "1True7");
  prints("{% for c in 'h\xC3\xA9!' %}[{{ c }}]{% endfor %}", "[h][\xC3\xA9][!]");
  prints("{{ 'h\xC3\xA9llo'[1:3] }} {{ 'h\xC3\xA9llo'[::-1] }} {{ 'h\xC3\xA9llo' | length }}", "\xC3\xA9l oll\xC3\xA9h 5");
  prints("{{ '\xC3\xA4\xC3\x9F' | upper }} {{ '\xD0\x9C\xD0\x98\xD0\xA0' | lower }} {{ \"they're here\" | title }}",
         "\xC3\x84SS \xD0\xBC\xD0\xB8\xD1\x80 They're Here");
  prints("{% macro m(a, b='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{% set c = 1 %}{{ m(1) }}{{ m(b=2, a=3) }}", "1x1321");
  prints("{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% set k = i %}{% endfor %}{{ ns.n }}{{ k }}",
         "6");
  prints("{% filter upper %}a{{ x }}{% endfilter %}", "ADATA");
  prints("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3");
  prints("{% generation %}{{ x }}{% endgeneration %}", "dAtA");
  prints("{{ '%s has %03d and %.2f%%' % ('x', 7, 2.345) }}|{{ '%-4s|%4s' | format('a', 'b') }}", "x has 007 and 2.35%|a   |   b");
  prints("{{ '{}-{1}-{n:.2f}-{{}}'.format(1, 2, n=0.5) }}", "1-2-0.50-{}");
  prints("{{ ' a b  c '.split() }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a\\nb\\r\\nc'.splitlines() }}",
         "['a', 'b', 'c'] ['a,b', 'c'] ['a', 'b', 'c']");
  prints("{{ 'a1b \xE6\x97\xA5x'.title() }} {{ '12'.center(5) }}| {{ -4.0 % -2 }} {{ 'a \xE2\x80\x94 b' | wordcount }}",
         "A1B \xE6\x97\xA5X   12 | -0.0 2");
  prints("{{ 'abc'.find('c') }}{{ 'abcabc'.rfind('c') }}{{ 'aXbX'.count('X') }}{{ 'k=v=w'.partition('=') }}", "252('k', '=', 'v=w')");
  prints("{{ '7'.zfill(3) }} {{ 'a'.center(3) }}| {{ '12'.isdigit() }} {{ 'pre-x'.removeprefix('pre-') }}", "007  a | True x");
  prints("{{ '3.7' | int }} {{ 'z' | int(9) }} {{ '0x1f' | int(0, 16) }} {{ 2.5 | round }} {{ 3.14159 | round(2) }} {{ 'x' | float }}",
         "3 9 31 2.0 3.14 0.0");
  prints("{{ {'b': [1, {}], 'a': '<\\u00e9>\\u0001'} | tojson }}", "{\"b\": [1, {}], \"a\": \"<\xC3\xA9>\\u0001\"}");
  prints("{{ {'b': 1, 'a': [1]} | tojson(indent=1, sort_keys=true) }}", "{\n \"a\": [\n  1\n ],\n \"b\": 1\n}");
  prints("{{ '{\"a\": [1, 2.5, null]}' | from_json }}", "{'a': [1, 2.5, None]}");
  prints("{{ strftime_now('%d %b %Y, %A %H:%M %-d %j %q') }}", "20 Nov 2024, Wednesday 00:00 20 325 %q");
  prints("{{ y is defined }}{{ y }}{{ y is undefined }}{{ messages[0].z is defined }}{{ messages[5] is defined }}",
         "FalseTrueFalseFalse");
  prints("{{ 3 is divisibleby 3 }}{{ 'x' is in ['x'] }}{{ {} is mapping }}{{ 1 is number and 1 is not float }}", "TrueTrueTrueTrue");
  prints("{{ [3, 1, 2] | sort | join('-') }} {{ ['b', 'A'] | sort }} {{ [1, 2, 3] | sum }} {{ [4, 9] | max }}", "1-2-3 ['A', 'b'] 6 9");
  prints("{{ messages | map(attribute='role') | list }} {{ messages | selectattr('role', 'eq', 'user') | length }}", "['user'] 1");
  prints("{{ none | select | list }}{{ 'a' if false }}{{ 1 if 0 else 2 if 0 else 3 }}", "[]3");
  prints("{% if false %}{{ 1 | unknown }}{% endif %}", "");
}

/* --- Where it comes from ------------------------------------------------------------------------------------------------ */

/* origins has a letter for every byte of text: T from the template, D from the data. */
static void comes_from(const char *source, const char *text, const char *origins) {
  em_rendered rendered = {0};
  em_error error = {0};
  char found[256] = "";
  size_t next = 0;
  CHECK(try_render(source, strlen(source), HELLO, &rendered, &error) == EM_OK);
  CHECK_TEXT(rendered.text, text);
  for (size_t i = 0; i < rendered.n_spans; i++) {
    CHECK(rendered.spans[i].start == next && rendered.spans[i].bytes > 0);
    CHECK(i == 0 || rendered.spans[i].from_template != rendered.spans[i - 1].from_template);
    next += rendered.spans[i].bytes;
    for (size_t k = 0; k < rendered.spans[i].bytes && strlen(found) < 255; k++)
      strcat(found, rendered.spans[i].from_template ? "T" : "D");
  }
  CHECK_INT(next, rendered.bytes);
  CHECK_TEXT(found, origins);
  em_rendered_clear(&rendered);
}

static void check_origins(void) {
  comes_from("a{{ 'b' }}{{ x }}", "abdAtA", "TTDDDD");
  comes_from("{{ '<' + x + '>' }}", "<dAtA>", "TDDDDT");
  comes_from("{{ ('<' ~ x ~ '>')[1:] }}", "dAtA>", "DDDDT");
  comes_from("{% set t = '  <' ~ x ~ '>  ' %}{{ t.strip() }}{{ t | trim | upper }}", "<dAtA><DATA>", "TDDDDTTDDDDT");
  comes_from("{{ x.replace('A', '<|>') }}", "d<|>t<|>", "DTTTDTTT");
  comes_from("{{ ('a' ~ x ~ 'a').split('A') | join('|') }}", "ad|t|a", "TDTDTT");
  comes_from("{% macro m(v) %}<{{ v }}>{% endmacro %}{{ m(x) }}{{ m('y') }}", "<dAtA><y>", "TDDDDTTTT");
  comes_from("{% set b %}<{{ x }}>{% endset %}{{ b }}", "<dAtA>", "TDDDDT");
  comes_from("{{ '<{}>'.format(x) }}{{ '<%s>' % x }}", "<dAtA><dAtA>", "TDDDDTTDDDDT");
  comes_from("{{ bos_token }}{{ n }}{{ 1 }}", "<s>31", "TTTDD");
  comes_from("{{ '<|' + messages[0].role + '|>' + messages[0].content }}", "<|user|>hi", "TTTTTTTTDD");
  comes_from("{{ x | tojson }}{{ '<s>' | tojson }}", "\"dAtA\"\"<s>\"", "DDDDDDDDDDD");
  comes_from("{{ ('<' ~ x) * 2 }}", "<dAtA<dAtA", "TDDDDTDDDD");
  comes_from("{{ ('a' ~ x)[::-1] }}", "AtAda", "DDDDT");
  comes_from("{% set s = 'a' %}{% for i in range(3) %}{{ s ~ x[0] ~ s }}{% endfor %}", "adaadaada", "TDTTDTTDT");
}

/* --- What is refused --------------------------------------------------------------------------------------------------------- */

static void refuses(const char *source, em_status expected, const char *part) {
  em_rendered rendered = {0};
  em_error error = {0};
  CHECK_INT(try_render(source, strlen(source), HELLO, &rendered, &error), expected);
  if (!strstr(error.text, part))
    fprintf(stderr, "%s: \"%s\" has no \"%s\"\n", source, error.text, part);
  CHECK(strstr(error.text, part) != NULL);
  em_rendered_clear(&rendered);
}

static void check_refusals(void) {
  refuses("a\n{{ x ", EM_ERR_FORMAT, "line 2");
  refuses("{{ }}", EM_ERR_FORMAT, "expression");
  refuses("{% if x %}", EM_ERR_FORMAT, "\"elif\" is missing");
  refuses("{% endif %}", EM_ERR_FORMAT, "does not belong");
  refuses("{# never closed", EM_ERR_FORMAT, "comment");
  refuses("{% raw %}", EM_ERR_FORMAT, "raw");
  refuses("{{ 'open }}", EM_ERR_FORMAT, "string");
  refuses("{{ (1] }}", EM_ERR_FORMAT, "expected");
  refuses("{{ 1 ? 2 }}", EM_ERR_FORMAT, "no meaning");
  refuses("{% break %}", EM_ERR_FORMAT, "loop");
  refuses("{% include 'x' %}", EM_ERR_UNSUPPORTED, "include");
  refuses("{{ x | nothing }}", EM_ERR_UNSUPPORTED, "nothing");
  refuses("{{ x is nothing }}", EM_ERR_UNSUPPORTED, "nothing");
  refuses("{% if x %}{{ x | nothing }}{% endif %}", EM_ERR_UNSUPPORTED, "nothing");
  refuses("\n\n{{ nothing.member }}", EM_ERR_FORMAT, "line 3: 'nothing' is undefined");
  refuses("{{ messages.a.b }}", EM_ERR_FORMAT, "'a' is undefined");
  refuses("{{ nothing() }}", EM_ERR_FORMAT, "'nothing' is undefined");
  refuses("{{ 1 + [] }}", EM_ERR_FORMAT, "'+' does not go between 'int' and 'list'");
  refuses("{{ 1 // 0 }}", EM_ERR_FORMAT, "division by zero");
  refuses("{{ {[]: 1} }}", EM_ERR_FORMAT, "unhashable");
  refuses("{% for i in 5 %}{% endfor %}", EM_ERR_FORMAT, "cannot be gone through");
  refuses("{% set a, b = [1] %}", EM_ERR_FORMAT, "unpacked");
  refuses("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", EM_ERR_FORMAT, "at most 1");
  refuses("{{ raise_exception('Only ' ~ n ~ ' here') }}", EM_ERR_FORMAT, "Only 3 here");
  refuses("{{ 9223372036854775807 + 1 }}", EM_ERR_LIMIT, "too large");
  em_error error = {0};
  em_rendered rendered = {0};
  CHECK(try_render("ab{{ c.d }}", 11, HELLO, &rendered, &error) == EM_ERR_FORMAT);
  CHECK(error.has_offset && error.offset >= 5 && error.offset < 9);
  /* Names with a NUL inside are looked up as they are. */
  CHECK(try_render("{{ x['strip\\0\\0\\0\\0'] is defined }}", 35, HELLO, &rendered, &(em_error){0}) == EM_OK);
  CHECK_TEXT(rendered.text, "False");
  em_rendered_clear(&rendered);
}

/* --- Limits ------------------------------------------------------------------------------------------------------------------ */

static double cpu_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* The expected outcome within 100 ms of processor time. */
static double slowest_ms;

static void answers(const char *name, const char *source, size_t bytes, em_status expected) {
  em_rendered rendered = {0};
  em_error error = {0};
  double start = cpu_ms();
  em_status status = try_render(source, bytes, HELLO, &rendered, &error);
  double ms = cpu_ms() - start;
  slowest_ms = ms > slowest_ms ? ms : slowest_ms;
  if (status != expected || ms > 100)
    fprintf(stderr, "%s: %s after %.1f ms: %s\n", name, em_status_word(status), ms, error.text);
  CHECK_INT(status, expected);
  CHECK(ms <= 100);
  em_rendered_clear(&rendered);
}

static void bomb(const char *source) {
  answers(source, source, strlen(source), EM_ERR_LIMIT);
}

/* before, then part n times, then after. */
static void many(const char *before, const char *part, size_t n, const char *after, em_status expected) {
  em_buffer source = {0};
  em_buffer_append_text(&source, before);
  for (size_t i = 0; i < n; i++)
    em_buffer_append_text(&source, part);
  em_buffer_append_text(&source, after);
  answers(part, source.data, source.bytes, expected);
  em_buffer_clear(&source);
}

/* An expression inside n pairs of brackets: refused, unless there are few. */
static void nested(const char *open, const char *close, size_t n) {
  em_buffer source = {0};
  for (size_t depth = 50; depth <= n; depth += n - 50) {
    em_buffer_append_text(&source, "{{ ");
    for (size_t i = 0; i < depth; i++)
      em_buffer_append_text(&source, open);
    em_buffer_append_text(&source, "1");
    for (size_t i = 0; i < depth; i++)
      em_buffer_append_text(&source, close);
    em_buffer_append_text(&source, " }}");
    answers(open, source.data, source.bytes, depth > 50 ? EM_ERR_LIMIT : EM_OK);
    em_buffer_clear(&source);
  }
}

static void check_limits(void) {
  bomb("{% for i in range(10**9) %}{% endfor %}");
  bomb("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}");
  bomb("{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}{{ a }}{% endfor %}{% endfor %}{% endfor %}");
  bomb("{{ 'a' * 10**12 }}");
  bomb("{{ [1] * 10**12 }}");
  bomb("{% set ns = namespace(s='ab') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}");
  bomb("{% set ns = namespace(s=[1, 2]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}");
  bomb("{{ x | indent(10**9) }}");
  bomb("{{ [[1]] | tojson(indent=10**9) }}");
  bomb("{{ x.center(10**9) }}");
  bomb("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  bomb("{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}");
  bomb("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}");
  bomb("{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}");
  bomb("{% set l = [] %}{% set _ = l.append(l) %}{% set k = [] %}{% set _ = k.append(k) %}{{ l == k }}");
  bomb("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}");
  bomb("{% set l = [1] %}{% for i in l %}{% set _ = l.append(i) %}{% endfor %}");
  bomb("{% set l = range(99999) | list %}{% for i in range(99999) %}{{ -1 in l }}{% endfor %}");
  bomb("{% set s = 'ab' * 200000 %}{% for i in range(99999) %}{{ 'ba' * 9 + 'c' in s }}{% endfor %}");
  bomb("{% set s = 'ab' * 200000 %}{% for i in range(99999) %}{{ s[-1] }}{% endfor %}");
  bomb("{% set s = 'a' * 100000 %}{% for i in range(99999) %}{{ (s | upper | length) }}{% endfor %}");
  bomb("{% set s = ' ' * 100000 %}{% for i in range(99999) %}{{ s.split() }}{{ s.strip() }}{{ s | wordcount }}{% endfor %}");
  bomb("{% set l = range(99999) | list %}{% for i in range(99) %}{{ l | sort | length }}{% endfor %}");
  bomb("{% set l = [] %}{% for i in range(99999) %}{% set _ = l.insert(0, i) %}{% endfor %}");
  bomb("{% set d = {} %}{% for i in range(99999) %}{% set _ = d.update({i: 1}) %}{% endfor %}"
       "{% for i in range(99999) %}{% set _ = d.pop(i) %}{% endfor %}");
  bomb("{% set s = ('a' ~ x) * 50000 %}{% for i in range(99999) %}{{ s[1:-1] | length }}{% endfor %}");
  nested("(", ")", 60000);
  nested("[", "]", 60000);
  nested("{1:", "}", 60000);
  many("{{ ", "-", 60000, "1 }}", EM_ERR_LIMIT);
  many("{{ ", "not ", 60000, "1 }}", EM_ERR_LIMIT);
  many("{{ ", "1 if 0 else ", 20000, "1 }}", EM_ERR_LIMIT);
  nested("dict(a=", ")", 20000);
  nested("messages[", "]", 20000);
  nested("1|d(", ")", 40000);
  nested("1 is eq(", ")", 20000);
  many("", "{% if 1 %}", 10000, "", EM_ERR_LIMIT);
  many("", "{% for i in [1] %}", 10000, "", EM_ERR_LIMIT);
  many("", "{% macro m() %}", 10000, "", EM_ERR_LIMIT);
  many("{% if 0 %}", "{% elif 0 %}", 10000, "{% endif %}", EM_OK);
  many("{{ 1", " + 1", 10000, " }}", EM_OK);
  many("{{ ''", " ~ 1", 10000, " }}", EM_OK);
  many("{{ 1", " if 1", 40000, " }}", EM_ERR_LIMIT);
  many("{{ x", "|trim", 10000, " }}", EM_OK);
  many("{{ x", ".strip()", 10000, " }}", EM_OK);
  many("", "{{ x }}", 10000, "", EM_OK);
  many("{% set a1 = 1 %}", "{{ a", 60000, "", EM_ERR_FORMAT);
  many("", "{%", 100000, "", EM_ERR_FORMAT);
  many("", "{# ", 80000, "", EM_ERR_FORMAT);
  many("{% raw %}", "{% ", 80000, "", EM_ERR_FORMAT);
  many("", "a", EM_TEMPLATE_MAX_BYTES + 1, "", EM_ERR_LIMIT);
}

int main(void) {
  check_printing();
  check_origins();
  check_refusals();
  check_limits();
  printf("the slowest answer took %.1f ms\n", slowest_ms);
  return check_done();
}
