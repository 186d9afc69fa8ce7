/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/pretokenize.h"

#include "text/tokenizer/unicode.h"

#include <string.h>

/* A set of characters: those with a bit of `in` and none of `out`. */
typedef struct charset {
  uint32_t in, out;
} charset;

typedef enum pattern_kind {
  RUN,              /* head? body{least,most} tail* */
  CASED,            /* head? upper* lower+ suffix?, else head? upper+ lower* suffix? */
  CONTRACTION,      /* 's 't 're 've 'm 'll 'd */
  CONTRACTION_ANY,  /* the same in either case */
  NEWLINES,         /* \s*[\r\n]+ : up to the last newline of the white space */
  SPACES_BUT_LAST,  /* \s+(?!\S) : all white space before the end, else all but its last character */
  SPACES_AT_END,    /* \s+$ */
} pattern_kind;

typedef struct pattern {
  pattern_kind kind;
  uint8_t least, most; /* RUN: characters of the body; most 0: any number */
  bool head_required;
  bool suffix;         /* CASED: a contraction may follow */
  charset head, body, tail;
} pattern;

typedef struct em_pretokenizer_pass {
  const pattern *patterns;
  size_t n;
} em_pretokenizer_pass;

/* --- The patterns ----------------------------------------------------------------------------------------------- */

#define L EM_CHAR_L
#define LM (EM_CHAR_L | EM_CHAR_M)
#define LN (EM_CHAR_L | EM_CHAR_N)
#define UPPER (EM_CHAR_LU | EM_CHAR_LT | EM_CHAR_LM | EM_CHAR_LO | EM_CHAR_M)
#define LOWER (EM_CHAR_LL | EM_CHAR_LM | EM_CHAR_LO | EM_CHAR_M)
#define SET(bits) {(bits), 0}
#define NOT(bits) {EM_CHAR_ANY, (bits)}

/* [set]+, [set], [set]{1,3} */
#define SOME(...) {.kind = RUN, .least = 1, .body = __VA_ARGS__}
#define ONE(...) {.kind = RUN, .least = 1, .most = 1, .body = __VA_ARGS__}
#define UP_TO_3(...) {.kind = RUN, .least = 1, .most = 3, .body = __VA_ARGS__}
/* " ?[set]+" and "\s?[set]+" */
#define BLANK_SOME(...) {.kind = RUN, .least = 1, .head = SET(EM_CHAR_BLANK), .body = __VA_ARGS__}
#define SPACE_SOME(...) {.kind = RUN, .least = 1, .head = SET(EM_CHAR_SPACE), .body = __VA_ARGS__}
/* "[^\r\n\p{L}\p{N}]?[set]+" */
#define WORD(bits) {.kind = RUN, .least = 1, .head = NOT(EM_CHAR_NEWLINE | LN), .body = SET(bits)}
/* " ?[^\s...]+[tail]*" */
#define SIGNS(not_bits, tail_bits) \
  {.kind = RUN, .least = 1, .head = SET(EM_CHAR_BLANK), .body = NOT(EM_CHAR_SPACE | (not_bits)), .tail = SET(tail_bits)}
#define CASED_WORD(not_bits, with_suffix) \
  {.kind = CASED, .head = NOT(EM_CHAR_NEWLINE | LN), .body = NOT(not_bits), .suffix = with_suffix}
#define TAIL {.kind = NEWLINES}, {.kind = SPACES_BUT_LAST}, SOME(SET(EM_CHAR_SPACE))

static const pattern gpt2_words[] = {
    {.kind = CONTRACTION},
    BLANK_SOME(SET(L)),
    BLANK_SOME(SET(EM_CHAR_N)),
    BLANK_SOME(NOT(EM_CHAR_SPACE | LN)),
    {.kind = SPACES_BUT_LAST},
};
static const pattern llama3_words[] = {
    {.kind = CONTRACTION_ANY}, WORD(L), UP_TO_3(SET(EM_CHAR_N)), SIGNS(LN, EM_CHAR_NEWLINE), TAIL,
};
static const pattern qwen2_words[] = {
    {.kind = CONTRACTION_ANY}, WORD(L), ONE(SET(EM_CHAR_N)), SIGNS(LN, EM_CHAR_NEWLINE), TAIL,
};
static const pattern qwen35_words[] = {
    {.kind = CONTRACTION_ANY}, WORD(LM), ONE(SET(EM_CHAR_N)), SIGNS(LM | EM_CHAR_N, EM_CHAR_NEWLINE), TAIL,
};
static const pattern seed_coder_words[] = {
    {.kind = CONTRACTION_ANY}, WORD(L), ONE(SET(EM_CHAR_N)), SIGNS(LN | EM_CHAR_NEWLINE, 0), TAIL,
};
static const pattern gpt4o_words[] = {
    CASED_WORD(0, true), UP_TO_3(SET(EM_CHAR_N)), SIGNS(LN, EM_CHAR_NEWLINE | EM_CHAR_SLASH), TAIL,
};
static const pattern tekken_words[] = {
    CASED_WORD(0, false), ONE(SET(EM_CHAR_N)), SIGNS(LN, EM_CHAR_NEWLINE | EM_CHAR_SLASH), TAIL,
};
static const pattern kimi_words[] = {
    SOME(SET(EM_CHAR_HAN)), CASED_WORD(EM_CHAR_HAN, true), UP_TO_3(SET(EM_CHAR_N)), SIGNS(LN, EM_CHAR_NEWLINE), TAIL,
};
static const pattern deepseek_v3_words[] = {
    {.kind = RUN,
     .least = 1,
     .head = SET(EM_CHAR_ASCII_PUNCT),
     .head_required = true,
     .body = SET(EM_CHAR_ASCII_LETTER)},
    {.kind = RUN, .least = 1, .head = NOT(EM_CHAR_NEWLINE | L | EM_CHAR_P | EM_CHAR_S), .body = SET(LM)},
    {.kind = RUN,
     .least = 1,
     .head = SET(EM_CHAR_BLANK),
     .body = SET(EM_CHAR_P | EM_CHAR_S),
     .tail = SET(EM_CHAR_NEWLINE)},
    TAIL,
};
static const pattern each_number[] = {ONE(SET(EM_CHAR_N))};
static const pattern numbers_by_3[] = {UP_TO_3(SET(EM_CHAR_N))};
static const pattern numbers[] = {SOME(SET(EM_CHAR_N))};
static const pattern three_digits[] = {{.kind = RUN, .least = 3, .most = 3, .body = SET(EM_CHAR_ASCII_DIGIT)}};
static const pattern chinese_kana[] = {SOME(SET(EM_CHAR_CHINESE_KANA))};
static const pattern chinese_hangul[] = {SOME(SET(EM_CHAR_CHINESE_HANGUL))};
static const pattern each_newline[] = {ONE(SET(EM_CHAR_NEWLINE))};
static const pattern bicameral[] = {SPACE_SOME(SET(EM_CHAR_BICAMERAL))};
static const pattern half_full_punct[] = {SPACE_SOME(SET(EM_CHAR_HALF_FULL_PUNCT))};
static const pattern spaces_at_end[] = {{.kind = SPACES_AT_END}};
static const pattern space_letters[] = {SPACE_SOME(SET(L))};
static const pattern space_punct[] = {SPACE_SOME(SET(EM_CHAR_P))};
static const pattern falcon_punct[] = {SOME(SET(EM_CHAR_P | EM_CHAR_FALCON_SYMBOL | EM_CHAR_BACKTICK))};
static const pattern default_punct[] = {SOME(SET(EM_CHAR_P | EM_CHAR_FALCON_SYMBOL))};
static const pattern bloom_words[] = {BLANK_SOME(NOT(EM_CHAR_BLOOM_STOP))};
static const pattern newline_runs[] = {SOME(NOT(EM_CHAR_LINEFEED)), SOME(SET(EM_CHAR_LINEFEED))};

#define PASS(patterns) {patterns, sizeof(patterns) / sizeof((patterns)[0])}
static const em_pretokenizer_pass gpt2[] = {PASS(gpt2_words)};
static const em_pretokenizer_pass llama3[] = {PASS(llama3_words)};
static const em_pretokenizer_pass qwen2[] = {PASS(qwen2_words)};
static const em_pretokenizer_pass qwen35[] = {PASS(qwen35_words)};
static const em_pretokenizer_pass seed_coder[] = {PASS(seed_coder_words)};
static const em_pretokenizer_pass gpt4o[] = {PASS(gpt4o_words)};
static const em_pretokenizer_pass tekken[] = {PASS(tekken_words)};
static const em_pretokenizer_pass kimi[] = {PASS(kimi_words)};
static const em_pretokenizer_pass deepseek_v3[] = {PASS(numbers_by_3), PASS(chinese_kana), PASS(deepseek_v3_words)};
static const em_pretokenizer_pass deepseek_llm[] = {PASS(each_newline),  PASS(bicameral),      PASS(half_full_punct),
                                    PASS(spaces_at_end), PASS(chinese_hangul), PASS(numbers)};
static const em_pretokenizer_pass deepseek_coder[] = {PASS(each_newline), PASS(space_letters), PASS(space_punct),
                                                      PASS(chinese_hangul), PASS(each_number)};
static const em_pretokenizer_pass starcoder[] = {PASS(each_number), PASS(gpt2_words)};
static const em_pretokenizer_pass falcon[] = {PASS(falcon_punct), PASS(gpt2_words), PASS(three_digits)};
static const em_pretokenizer_pass unnamed[] = {PASS(default_punct), PASS(gpt2_words), PASS(numbers),
                                               PASS(three_digits)};
static const em_pretokenizer_pass bloom[] = {PASS(bloom_words)};
static const em_pretokenizer_pass viking[] = {PASS(bloom_words), PASS(each_number)};
static const em_pretokenizer_pass newlines[] = {PASS(newline_runs)};

#define PASSES(list) list, sizeof(list) / sizeof((list)[0])
static const em_pretokenizer pretokenizers[] = {
    {"default", PASSES(unnamed), false, false},
    {"llama-bpe", PASSES(llama3), true, true},
    {"llama3", PASSES(llama3), true, true},
    {"llama-v3", PASSES(llama3), true, true},
    {"falcon3", PASSES(llama3), true, true},
    {"falcon-h1", PASSES(llama3), true, true},
    {"pixtral", PASSES(llama3), true, true},
    {"lfm2", PASSES(llama3), true, true},
    {"midm-2.0", PASSES(llama3), true, true},
    {"dbrx", PASSES(llama3), false, false},
    {"smaug-bpe", PASSES(llama3), false, false},
    {"glm4", PASSES(llama3), false, false},
    {"chatglm-bpe", PASSES(llama3), false, false},
    {"qwen2", PASSES(qwen2), false, false},
    {"deepseek-r1-qwen", PASSES(qwen2), false, false},
    {"stablelm2", PASSES(qwen2), false, false},
    {"hunyuan", PASSES(qwen2), false, false},
    {"solar-open", PASSES(qwen2), false, false},
    {"grok-2", PASSES(qwen2), false, false},
    {"megrez", PASSES(qwen2), false, false},
    {"bailingmoe", PASSES(qwen2), false, false},
    {"bailingmoe2", PASSES(qwen2), false, false},
    {"qwen35", PASSES(qwen35), false, false},
    {"seed-coder", PASSES(seed_coder), false, false},
    {"gpt-4o", PASSES(gpt4o), false, false},
    {"llama4", PASSES(gpt4o), false, false},
    {"minimax-m2", PASSES(gpt4o), false, false},
    {"kanana2", PASSES(gpt4o), false, false},
    {"tekken", PASSES(tekken), true, true},
    {"kimi-k2", PASSES(kimi), false, false},
    {"deepseek-v3", PASSES(deepseek_v3), false, false},
    {"hunyuan-dense", PASSES(deepseek_v3), false, false},
    {"deepseek-llm", PASSES(deepseek_llm), false, false},
    {"deepseek-coder", PASSES(deepseek_coder), false, false},
    {"gpt-2", PASSES(gpt2), false, false},
    {"phi-2", PASSES(gpt2), false, false},
    {"mpt", PASSES(gpt2), false, false},
    {"olmo", PASSES(gpt2), false, false},
    {"jais", PASSES(gpt2), false, false},
    {"trillion", PASSES(gpt2), false, false},
    {"exaone4", PASSES(gpt2), false, false},
    {"granite-docling", PASSES(gpt2), false, false},
    {"starcoder", PASSES(starcoder), false, false},
    {"refact", PASSES(starcoder), false, false},
    {"command-r", PASSES(starcoder), false, false},
    {"smollm", PASSES(starcoder), false, false},
    {"codeshell", PASSES(starcoder), false, false},
    {"exaone", PASSES(starcoder), false, false},
    {"minerva-7b", PASSES(starcoder), false, false},
    {"falcon", PASSES(falcon), false, false},
    {"bloom", PASSES(bloom), false, false},
    {"gpt3-finnish", PASSES(bloom), false, false},
    {"poro-chat", PASSES(bloom), false, false},
    {"viking", PASSES(viking), false, false},
};

const em_pretokenizer *em_pretokenizer_find(const char *name) {
  for (size_t i = 0; i < sizeof pretokenizers / sizeof pretokenizers[0]; i++)
    if (strcmp(pretokenizers[i].name, name) == 0)
      return &pretokenizers[i];
  return NULL;
}

const em_pretokenizer *em_pretokenizer_newlines(void) {
  static const em_pretokenizer by_newlines = {"gemma4", PASSES(newlines), false, true};
  return &by_newlines;
}

/* --- Matching --------------------------------------------------------------------------------------------------- */

/* All of these look at text[at..end) and give the end of what matched, or `at` for nothing. */

static bool in_set(charset set, uint32_t flags) {
  return (flags & set.in) != 0 && (flags & set.out) == 0;
}

/* The end of at most `most` (0: any number) characters of a set; *n is how many. */
static size_t match_set(const char *text, size_t at, size_t end, charset set, size_t most, size_t *n) {
  *n = 0;
  while (at < end && (most == 0 || *n < most)) {
    size_t taken;
    if (!in_set(set, em_char_at(text + at, end - at, &taken)))
      break;
    at += taken;
    ++*n;
  }
  return at;
}

static size_t match_body(const pattern *p, const char *text, size_t at, size_t end) {
  size_t n, stop = match_set(text, at, end, p->body, p->most, &n);
  if (n < p->least)
    return at;
  return p->tail.in ? match_set(text, stop, end, p->tail, 0, &n) : stop;
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static size_t match_contraction(const char *text, size_t at, size_t end, bool any_case) {
  static const char suffixes[][3] = {"s", "t", "re", "ve", "m", "ll", "d"};
  if (end - at < 2 || text[at] != '\'')
    return at;
  for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
    size_t n = strlen(suffixes[i]), k = 0;
    while (k < n && at + 1 + k < end && (any_case ? lower(text[at + 1 + k]) : text[at + 1 + k]) == suffixes[i][k])
      k++;
    if (k == n)
      return at + 1 + n;
  }
  return at;
}

/* upper* lower+ : a letter without case is in both sets, so the upper run gives back down to its last lower one. */
static size_t match_upper_lower(const pattern *p, const char *text, size_t at, size_t end) {
  size_t i = at, last_lower_end = at, taken;
  while (i < end) {
    uint32_t flags = em_char_at(text + i, end - i, &taken);
    if (!(flags & UPPER) || (flags & p->body.out))
      break;
    i += taken;
    if (flags & LOWER)
      last_lower_end = i;
  }
  size_t n, stop = match_set(text, i, end, (charset){LOWER, p->body.out}, 0, &n);
  return n > 0 ? stop : last_lower_end;
}

static size_t match_cased_body(const pattern *p, const char *text, size_t at, size_t end, bool lower_required) {
  size_t stop;
  if (lower_required) {
    stop = match_upper_lower(p, text, at, end);
  } else {
    size_t n;
    stop = match_set(text, at, end, (charset){UPPER, p->body.out}, 0, &n);
    if (n > 0)
      stop = match_set(text, stop, end, (charset){LOWER, p->body.out}, 0, &n);
  }
  return stop > at && p->suffix ? match_contraction(text, stop, end, true) : stop;
}

static size_t match_cased(const pattern *p, const char *text, size_t at, size_t end) {
  size_t taken;
  bool head = in_set(p->head, em_char_at(text + at, end - at, &taken));
  for (int lower_required = 1; lower_required >= 0; lower_required--) {
    size_t stop = head ? match_cased_body(p, text, at + taken, end, lower_required) : at;
    if (head && stop > at + taken)
      return stop;
    stop = match_cased_body(p, text, at, end, lower_required);
    if (stop > at)
      return stop;
  }
  return at;
}

/* The head is taken where something follows it, and left to the body otherwise. */
static size_t match_run(const pattern *p, const char *text, size_t at, size_t end) {
  if (p->head.in) {
    size_t taken;
    if (in_set(p->head, em_char_at(text + at, end - at, &taken))) {
      size_t stop = match_body(p, text, at + taken, end);
      if (stop > at + taken)
        return stop;
    }
    if (p->head_required)
      return at;
  }
  return match_body(p, text, at, end);
}

/* A run of white space, as three patterns see it. */
typedef struct space_run {
  size_t end, last_start, last_newline_end; /* last_newline_end == at: no newline */
} space_run;

static space_run look_at_spaces(const char *text, size_t at, size_t end) {
  space_run run = {at, at, at};
  while (run.end < end) {
    size_t taken;
    uint32_t flags = em_char_at(text + run.end, end - run.end, &taken);
    if (!(flags & EM_CHAR_SPACE))
      break;
    run.last_start = run.end;
    run.end += taken;
    if (flags & EM_CHAR_NEWLINE)
      run.last_newline_end = run.end;
  }
  return run;
}

/* Where nothing matches, *skip is the end of text that no match of this pattern starts in. */
static size_t match(const pattern *p, const char *text, size_t at, size_t end, size_t *skip) {
  *skip = at;
  switch (p->kind) {
  case RUN:
    return match_run(p, text, at, end);
  case CASED:
    return match_cased(p, text, at, end);
  case CONTRACTION:
  case CONTRACTION_ANY:
    return match_contraction(text, at, end, p->kind == CONTRACTION_ANY);
  case NEWLINES:
    return look_at_spaces(text, at, end).last_newline_end;
  case SPACES_BUT_LAST: {
    space_run run = look_at_spaces(text, at, end);
    return run.end == end ? end : run.last_start;
  }
  case SPACES_AT_END: {
    space_run run = look_at_spaces(text, at, end);
    *skip = run.end;
    return run.end == end ? end : at;
  }
  }
  return at;
}

/* The first match of a pass in text[*at..end): *at becomes its start (end where there is none), the result its end. */
static size_t search(const em_pretokenizer_pass *pass, const char *text, size_t *at, size_t end) {
  size_t i = *at;
  while (i < end) {
    size_t skip = i;
    for (size_t k = 0; k < pass->n; k++) {
      size_t stop = match(&pass->patterns[k], text, i, end, &skip);
      if (stop > i) {
        *at = i;
        return stop;
      }
    }
    /* What the only pattern has looked at in vain need not be looked at again. */
    if (pass->n == 1 && skip > i) {
      i = skip;
    } else {
      size_t taken;
      em_char_at(text + i, end - i, &taken);
      i += taken;
    }
  }
  *at = end;
  return end;
}

void em_words_start(em_words *words, const em_pretokenizer *pretokenizer, const char *text, size_t bytes) {
  *words = (em_words){.pretokenizer = pretokenizer, .text = text};
  words->passes[0].end = bytes;
}

bool em_words_next(em_words *words, size_t *start, size_t *bytes) {
  for (;;) {
    const em_pretokenizer_pass *pass = &words->pretokenizer->passes[words->depth];
    size_t at = words->passes[words->depth].at, end = words->passes[words->depth].end;
    if (at == end) {
      if (words->depth == 0)
        return false;
      words->depth--;
      continue;
    }
    /* Either the match is due, or the text before the next one, which may be empty. */
    size_t stop = words->passes[words->depth].match_end;
    if (words->passes[words->depth].match_at != at || stop == at) {
      size_t match_at = at;
      stop = search(pass, words->text, &match_at, end);
      words->passes[words->depth].match_at = match_at;
      words->passes[words->depth].match_end = stop;
      if (match_at > at)
        stop = match_at;
    }
    words->passes[words->depth].at = stop;
    if (words->depth + 1u == words->pretokenizer->n_passes) {
      *start = at;
      *bytes = stop - at;
      return true;
    }
    words->depth++;
    words->passes[words->depth].at = at;
    words->passes[words->depth].end = stop;
    words->passes[words->depth].match_at = words->passes[words->depth].match_end = at;
  }
}
