/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/utf8.h"
#include "check.h"

/* The table of Unicode's maximal subparts: how many bytes each malformed beginning takes. */
static void check_malformed(void) {
  static const struct {
    const char *text;
    size_t bytes, taken;
  } cases[] = {
    { "\x80", 1, 1 },             /* a continuation alone */
    { "\xbf\x80", 2, 1 },
    { "\xc0\x80", 2, 1 },         /* overlong NUL */
    { "\xc1\xbf", 2, 1 },
    { "\xc3", 1, 1 },             /* cut short */
    { "\xc3(", 2, 1 },
    { "\xe0\x80\x80", 3, 1 },     /* overlong */
    { "\xe0\xa0", 2, 2 },         /* cut short */
    { "\xe2\x82(", 3, 2 },
    { "\xed\xa0\x80", 3, 1 },     /* a surrogate */
    { "\xf0\x80\x80\x80", 4, 1 }, /* overlong */
    { "\xf0\x9f\x98", 3, 3 },     /* cut short */
    { "\xf0\x9f(", 3, 2 },
    { "\xf4\x90\x80\x80", 4, 1 }, /* past U+10FFFF */
    { "\xf5\x80\x80\x80", 4, 1 },
    { "\xff", 1, 1 },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint32_t c = 0;
    bool valid = true;
    CHECK_INT(em_utf8_decode(cases[i].text, cases[i].bytes, &c, &valid), cases[i].taken);
    CHECK(!valid && c == EM_UTF8_REPLACEMENT);
    CHECK(!em_utf8_valid(cases[i].text, cases[i].bytes));
  }
}

/* Every code point comes back; surrogates and what lies past the end become the replacement character. */
static void check_round_trip(void) {
  for (uint32_t c = 0; c < 0x110100; c++) {
    char text[4];
    size_t n = em_utf8_encode(c, text);
    bool whole = c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff), valid;
    uint32_t back;
    if (em_utf8_decode(text, n, &back, &valid) != n || !valid || back != (whole ? c : EM_UTF8_REPLACEMENT) ||
        n != (!whole ? 3u : c < 0x80 ? 1u : c < 0x800 ? 2u : c < 0x10000 ? 3u : 4u)) {
      CHECK(!"a code point came back otherwise");
      printf("U+%04X\n", (unsigned)c);
      return;
    }
  }
  CHECK(true);
}

static void check_tails(void) {
  const char *text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
  static const size_t tails[] = { 0, 0, 1, 0, 1, 2, 0, 1, 2, 3, 0 };
  for (size_t n = 0; n < sizeof tails / sizeof *tails; n++)
    CHECK_INT(em_utf8_incomplete_tail(text, n), tails[n]);
  /* Beginnings that no continuation can complete are nothing to wait for. */
  CHECK_INT(em_utf8_incomplete_tail("\xe0\x80", 2), 0);
  CHECK_INT(em_utf8_incomplete_tail("\xed\xa0", 2), 0);
  CHECK_INT(em_utf8_incomplete_tail("\xf4\x90\x80", 3), 0);
  CHECK_INT(em_utf8_incomplete_tail("\xc0", 1), 0);
  CHECK_INT(em_utf8_incomplete_tail("\xff", 1), 0);
  CHECK_INT(em_utf8_incomplete_tail("\x80\x80\x80\x80", 4), 0);
}

int main(void) {
  check_malformed();
  check_round_trip();
  check_tails();
  CHECK(em_utf8_valid("", 0));
  CHECK(em_utf8_valid("a\0b", 3));
  return check_done();
}
