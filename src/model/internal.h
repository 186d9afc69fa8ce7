/* What the family files of this room need: hyper-parameters, tensor rules, the table of a family and the builder. */
#pragma once

#include "model/builder.h"
#include "model/family.h"
#include "model/hparams.h"
#include "model/rules.h"
