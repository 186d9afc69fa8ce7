/* From expressions to states, and what must hold for them. Only for build.c and emit.c. */
#pragma once

#include "text/grammar/build.h"

typedef struct em_emitter em_emitter;

em_emitter *em_emitter_new(void); /* NULL: memory */
void em_emitter_free(em_emitter *emitter);

/* Finds left recursion, marks states that lead nowhere, and refuses a grammar that accepts nothing. Errors:
 * EM_ERR_FORMAT, EM_ERR_NO_MEMORY. */
em_status em_grammar_check(em_grammar *grammar, const char *who, em_error *error) EM_MUST_USE;
