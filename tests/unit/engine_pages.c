/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pages of the KV cache: sharing, copying, keeping and giving away. */
#include "check.h"

#include "engine/kv.h"

#define PAGE EM_KV_PAGE_TOKENS
#define MAX_LIST 8

typedef struct sequence {
  uint32_t ids[MAX_LIST];
  em_page_list list;
} sequence;

static em_pages *pages;

/* Starts a sequence on tokens[0..n) and computes it all; returns what was found. */
static uint32_t start(sequence *s, const int32_t *tokens, uint32_t n) {
  uint32_t reused = 0;
  em_error error = {0};
  s->list = (em_page_list){s->ids, 0};
  CHECK_INT(em_pages_start(pages, tokens, n, &s->list, &reused, &error), EM_OK);
  CHECK_INT(em_pages_grow(pages, &s->list, n, &error), EM_OK);
  em_pages_commit(pages, &s->list, tokens, reused, n);
  return reused;
}

static uint32_t once(const int32_t *tokens, uint32_t n) {
  sequence s;
  uint32_t reused = start(&s, tokens, n);
  em_pages_release(pages, &s.list);
  return reused;
}

static uint32_t resume(sequence *s, const int32_t *tokens, uint32_t n) {
  uint32_t reused = 77;
  s->list = (em_page_list){s->ids, 0};
  CHECK_INT(em_pages_resume(pages, tokens, n, 0, &s->list, &reused, NULL), EM_OK);
  CHECK_INT(reused, s->list.n * PAGE);
  return reused;
}

/* Only where states were kept may a sequence go on; the two not used for longest make room. */
static void check_states(const int32_t *a, const int32_t *c) {
  sequence s, t;
  CHECK_INT(resume(&s, a, 700), 0);
  CHECK_INT(em_pages_grow(pages, &s.list, 700, NULL), EM_OK);
  em_pages_commit(pages, &s.list, a, 0, 700);
  CHECK_INT(resume(&t, a, 700), 0);
  CHECK_INT(em_pages_keep(pages, &s.list, PAGE, 0, NULL), EM_OK);
  CHECK_INT(em_pages_keep(pages, &s.list, 2 * PAGE, 0, NULL), EM_OK);
  /* Of a sequence that still runs, too, and of the same tokens computed twice. */
  CHECK_INT(resume(&t, a, 700), 2 * PAGE);
  CHECK_INT(t.list.ids[1], s.list.ids[1]);
  em_pages_release(pages, &t.list);
  CHECK_INT(em_pages_grow(pages, &t.list, 300, NULL), EM_OK);
  em_pages_commit(pages, &t.list, a, 0, 300);
  CHECK_INT(t.list.ids[0], s.list.ids[0]);
  em_pages_release(pages, &t.list);
  em_pages_release(pages, &s.list);
  CHECK_INT(resume(&s, a, 2 * PAGE), 2 * PAGE);
  em_pages_release(pages, &s.list);
  CHECK_INT(resume(&s, a, 2 * PAGE - 1), PAGE);
  /* A third place is that of the second page, which was not used for longest. */
  CHECK_INT(resume(&t, c, 300), 0);
  CHECK_INT(em_pages_grow(pages, &t.list, 300, NULL), EM_OK);
  em_pages_commit(pages, &t.list, c, 0, 300);
  CHECK_INT(em_pages_keep(pages, &t.list, PAGE, 0, NULL), EM_OK);
  em_pages_release(pages, &s.list);
  em_pages_release(pages, &t.list);
  CHECK_INT(resume(&s, a, 700), PAGE);
  CHECK_INT(resume(&t, c, 700), PAGE);
  em_pages_release(pages, &s.list);
  em_pages_release(pages, &t.list);
  em_pages_forget(pages);
  CHECK_INT(resume(&s, a, 700), 0);
}

static void fill(int32_t *tokens, uint32_t n, int32_t seed) {
  for (uint32_t i = 0; i < n; i++)
    tokens[i] = (int32_t)(i % 97) * 1000 + seed;
}

int main(void) {
  em_backend *backend;
  em_kv *kv;
  em_backend_params params = {.kind = EM_DEVICE_NULL};
  em_kv_layer layer = {1, 32, 32, false};
  em_kv_desc desc = {.type = EM_TYPE_F16, .layers = &layer, .n_layers = 1, .n_pages = 8};
  CHECK_INT(em_backend_open(&params, &backend, NULL), EM_OK);
  CHECK_INT(em_kv_new(backend, &desc, &kv, NULL), EM_OK);
  CHECK_INT(em_pages_new(8, &pages, NULL), EM_OK);
  em_pages_restart(pages, &kv, 1, 8, 0, 0);
  static int32_t a[MAX_LIST * PAGE], b[MAX_LIST * PAGE], c[MAX_LIST * PAGE];
  fill(a, MAX_LIST * PAGE, 1);
  fill(c, MAX_LIST * PAGE, 3);
  memcpy(b, a, sizeof b);
  sequence s, t, u;

  /* Nothing is there at first; then everything is, up to the last token and inside a page. */
  CHECK_INT(start(&s, a, 600), 0);
  CHECK_INT(s.list.n, 3);
  /* A page in use and full is shared; the last, partial one is copied. */
  CHECK_INT(start(&t, a, 650), 600);
  CHECK_INT(t.list.ids[0], s.list.ids[0]);
  CHECK_INT(t.list.ids[1], s.list.ids[1]);
  CHECK(t.list.ids[2] != s.list.ids[2]);
  /* Another branch inside the second page. */
  b[300] = -5;
  CHECK_INT(start(&u, b, 600), 300);
  CHECK_INT(u.list.ids[0], s.list.ids[0]);
  CHECK(u.list.ids[1] != s.list.ids[1]);
  /* A prefix that ends at a page's end takes the whole page and no other. */
  em_pages_release(pages, &t.list);
  CHECK_INT(start(&t, a, 512), 512);
  CHECK_INT(t.list.n, 2);
  em_pages_release(pages, &s.list);
  em_pages_release(pages, &t.list);
  em_pages_release(pages, &u.list);

  /* A partial page that nobody uses and that fits is taken over; nothing is copied, so going on from it takes no page.
   */
  CHECK_INT(start(&s, a, 660), 650);
  em_pages_release(pages, &s.list);
  CHECK_INT(once(a, 660), 660);
  CHECK_INT(once(b, 600), 600);
  CHECK_INT(once(c, 10), 0);

  /* Two sequences that compute the same at once end with the same pages. */
  em_pages_forget(pages);
  CHECK_INT(once(a, 600), 0);
  em_pages_forget(pages);
  uint32_t reused;
  s.list = (em_page_list){s.ids, 0};
  t.list = (em_page_list){t.ids, 0};
  CHECK_INT(em_pages_start(pages, a, 600, &s.list, &reused, NULL), EM_OK);
  CHECK_INT(em_pages_start(pages, a, 600, &t.list, &reused, NULL), EM_OK);
  CHECK_INT(reused, 0);
  CHECK_INT(em_pages_grow(pages, &s.list, 600, NULL), EM_OK);
  CHECK_INT(em_pages_grow(pages, &t.list, 600, NULL), EM_OK);
  for (uint32_t i = 0; i < 600; i += 60) {
    em_pages_commit(pages, &s.list, a, i, i + 60);
    em_pages_commit(pages, &t.list, a, i, i + 60);
  }
  CHECK_INT(s.list.ids[0], t.list.ids[0]);
  CHECK_INT(s.list.ids[1], t.list.ids[1]);
  CHECK(s.list.ids[2] != t.list.ids[2]);
  em_pages_release(pages, &s.list);
  em_pages_release(pages, &t.list);
  CHECK_INT(once(a, 700), 600);

  /* The page not used for longest goes first, and of a sequence its end. */
  em_pages_forget(pages);
  CHECK_INT(once(a, 3 * PAGE), 0);
  CHECK_INT(once(b + 7, 3 * PAGE), 0);
  CHECK_INT(once(c, 3 * PAGE), 0); /* takes the last free two and the end of a */
  CHECK_INT(once(b + 7, 3 * PAGE), 3 * PAGE);
  CHECK_INT(once(c, 3 * PAGE), 3 * PAGE);
  CHECK_INT(once(a, 2 * PAGE), 2 * PAGE);
  CHECK_INT(once(a, 3 * PAGE), 2 * PAGE);

  /* Every page in use: growing fails and says so, and starting does with what there is. */
  em_pages_forget(pages);
  CHECK_INT(start(&s, a, 8 * PAGE), 0);
  t.list = (em_page_list){t.ids, 0};
  em_error error = {0};
  CHECK_INT(em_pages_start(pages, b + 1, 10, &t.list, &reused, &error), EM_OK);
  CHECK_INT(reused, 0);
  CHECK_INT(em_pages_grow(pages, &t.list, 10, &error), EM_ERR_NO_MEMORY);
  CHECK_INT(em_pages_start(pages, a, 300, &t.list, &reused, NULL), EM_OK);
  CHECK_INT(reused, 256); /* the 44 more would need a copy */
  em_pages_release(pages, &t.list);
  em_pages_release(pages, &s.list);

  /* With no other page free, a partial page is cut instead of copied. */
  em_pages_forget(pages);
  CHECK_INT(start(&s, c, 7 * PAGE), 0);
  CHECK_INT(once(a, 200), 0);
  CHECK_INT(start(&t, a, 100), 100);
  em_pages_release(pages, &t.list);
  CHECK_INT(once(a, 200), 100);
  em_pages_release(pages, &s.list);

  em_state_layer state_layer = {8, 64};
  em_kv *with_states;
  desc.state_layers = &state_layer;
  desc.n_state_layers = 1;
  desc.n_states = 3;
  CHECK_INT(em_kv_new(backend, &desc, &with_states, NULL), EM_OK);
  em_pages_restart(pages, &with_states, 1, 8, 1, 2);
  check_states(a, c);
  em_kv_free(with_states);

  em_pages_free(pages);
  em_kv_free(kv);
  em_backend_close(backend);
  return check_done();
}
