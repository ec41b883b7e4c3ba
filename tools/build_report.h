// SPDX-License-Identifier: Apache-2.0
/* What the build found of the libraries behind two of the backends. */
#ifndef RINGFALL_TOOLS_BUILD_REPORT_H
#define RINGFALL_TOOLS_BUILD_REPORT_H

#include <stdbool.h>

#include "tool.h"

enum tool_exit build_report(const char *command, bool json);

#endif
