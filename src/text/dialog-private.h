/* What the files of the dialog share. */
#pragma once

#include "text/dialog.h"
#include "text/grammar/grammar.h"

/* Text with which a model goes on to ask itself, in the format of a fallback; or NULL. */
const char *em_dialog_own_stop(const em_dialog *dialog);

/* The tree of the vocabulary, made when it is first asked for; it lives as long as the dialog. Thread-safe. Errors:
 * those of em_token_trie_new. */
em_status em_dialog_trie(const em_dialog *dialog, const em_token_trie **out, em_error *error) EM_MUST_USE;
