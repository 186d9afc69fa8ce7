/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/grammar/matcher-private.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

em_status em_matcher_new(const em_grammar *grammar, const em_token_trie *trie, bool drops_space, em_matcher **out,
                         em_error *error) {
  em_status status = EM_OK;
  uint32_t set;
  em_matcher *m = em_calloc(1, sizeof *m);
  if (!m)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for following the grammar"));
  m->trie = trie;
  m->drops_space = drops_space;
  EM_TRY(em_ways_init(&m->ways, grammar, error));
  EM_TRY(em_ways_single(&m->ways, (em_way){grammar->rules[0], EM_WAYS_BOTTOM}, &set, error));
  EM_TRY(em_ways_close(&m->ways, set, error));
  m->places[0] = (em_place){.set = set, .fresh = true};
  m->n_places = 1;
  *out = m;
  return EM_OK;
fail:
  em_matcher_free(m);
  return status;
}

em_status em_matcher_copy(const em_matcher *matcher, em_matcher **out, em_error *error) {
  em_status status = EM_OK;
  em_matcher *m = em_calloc(1, sizeof *m);
  if (!m)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for following the grammar"));
  m->trie = matcher->trie;
  m->drops_space = matcher->drops_space;
  EM_TRY(em_ways_init(&m->ways, matcher->ways.grammar, error));
  for (uint32_t i = 0; i < matcher->n_places; i++) {
    m->places[i] = matcher->places[i];
    EM_TRY(em_ways_move(&m->ways, &matcher->ways, matcher->places[i].set, &m->places[i].set, error));
    EM_TRY(em_ways_close(&m->ways, m->places[i].set, error));
  }
  m->n_places = matcher->n_places;
  *out = m;
  return EM_OK;
fail:
  em_matcher_free(m);
  return status;
}

void em_matcher_free(em_matcher *m) {
  if (!m)
    return;
  em_ways_clear(&m->ways);
  em_mask_cache_clear(&m->cache);
  free(m);
}

em_status em_matcher_tidy(em_matcher *m, uint32_t *extra, em_error *error) {
  em_status status = EM_OK;
  em_ways fresh;
  uint32_t sets[EM_MATCHER_MAX_ROLLBACK + 1], moved = EM_WAYS_DEAD;
  EM_TRY(em_ways_init(&fresh, m->ways.grammar, error));
  for (uint32_t i = 0; i < m->n_places; i++) {
    EM_TRY(em_ways_move(&fresh, &m->ways, m->places[i].set, &sets[i], error));
    EM_TRY(em_ways_close(&fresh, sets[i], error));
  }
  if (extra)
    EM_TRY(em_ways_move(&fresh, &m->ways, *extra, &moved, error));
  fresh.work = m->ways.work;
  em_ways_clear(&m->ways);
  m->ways = fresh;
  for (uint32_t i = 0; i < m->n_places; i++)
    m->places[i].set = sets[i];
  if (extra)
    *extra = moved;
  return EM_OK;
fail:
  em_ways_clear(&fresh);
  return status;
}

/* One byte; tidies up once where the tables are full. */
static em_status step(em_matcher *m, uint32_t *set, unsigned byte, em_error *error) {
  uint32_t next;
  em_error first = {0};
  em_status status = em_ways_step(&m->ways, *set, byte, &next, &first);
  if (status == EM_ERR_LIMIT && m->ways.full) {
    EM_TRY(em_matcher_tidy(m, set, error));
    EM_TRY(em_ways_step(&m->ways, *set, byte, &next, error));
  } else if (status != EM_OK) {
    return em_fail(error, status, "%s", first.text);
  }
  *set = next;
fail:
  return status;
}

/* Makes set the present place. It is closed, so that may_end needs no memory. */
static em_status arrive(em_matcher *m, uint32_t set, bool ended, em_error *error) {
  em_status status = EM_OK;
  em_error first = {0};
  status = em_ways_close(&m->ways, set, &first);
  if (status == EM_ERR_LIMIT && m->ways.full) {
    EM_TRY(em_matcher_tidy(m, &set, error));
    EM_TRY(em_ways_close(&m->ways, set, error));
  } else if (status != EM_OK) {
    return em_fail(error, status, "%s", first.text);
  }
  if (m->n_places == EM_MATCHER_MAX_ROLLBACK + 1)
    memmove(m->places, m->places + 1, --m->n_places * sizeof *m->places);
  m->places[m->n_places++] = (em_place){.set = set, .ended = ended};
fail:
  return status;
}

em_status em_matcher_feed(em_matcher *m, const char *text, size_t bytes, em_error *error) {
  em_status status = EM_OK;
  em_place now = m->places[m->n_places - 1];
  uint32_t set = now.ended ? EM_WAYS_DEAD : now.set;
  for (size_t i = 0; i < bytes; i++) {
    m->ways.work = 0;
    if (set != EM_WAYS_DEAD)
      EM_TRY(step(m, &set, (unsigned char)text[i], error));
    if (set == EM_WAYS_DEAD)
      EM_TRY(em_fail_at(error, EM_ERR_FORMAT, i, "the grammar does not accept the text"));
  }
  EM_TRY(arrive(m, set, now.ended, error));
fail:
  return status;
}

em_status em_matcher_accept(em_matcher *m, int32_t token, em_error *error) {
  const em_token_trie *trie = m->trie;
  em_place now = m->places[m->n_places - 1];
  if (!trie || token < 0 || (size_t)token >= trie->n_tokens)
    return em_fail(error, EM_ERR_ARGUMENT, "token %d is outside the vocabulary", (int)token);
  for (uint32_t i = 0; i < trie->n_ends; i++)
    if (trie->ends[i] == (uint32_t)token) {
      if (now.ended || !m->ways.sets[now.set].accepts)
        return em_fail(error, EM_ERR_FORMAT, "the grammar does not accept the end of the text");
      return arrive(m, now.set, true, error);
    }
  const char *text = trie->text + trie->offsets[token];
  size_t bytes = trie->offsets[token + 1] - trie->offsets[token];
  if (now.fresh && m->drops_space && bytes > 0 && text[0] == ' ') {
    text++;
    bytes--;
  }
  if (bytes == 0)
    return em_fail(error, EM_ERR_FORMAT, "the grammar does not accept a token without text");
  return em_matcher_feed(m, text, bytes, error);
}

bool em_matcher_rollback(em_matcher *m, size_t n_steps) {
  if (n_steps >= m->n_places)
    return false;
  m->n_places -= (uint32_t)n_steps;
  return true;
}

bool em_matcher_may_end(const em_matcher *m) {
  return m->ways.sets[m->places[m->n_places - 1].set].accepts;
}
