// SPDX-License-Identifier: Apache-2.0
/* <ringfall/version.h>: which ringfall this is. */
#ifndef RINGFALL_VERSION_H
#define RINGFALL_VERSION_H

/* Of these headers. */
#define RF_VERSION_MAJOR 0 /* X of X.Y.Z */
#define RF_VERSION_MINOR 1 /* Y */
#define RF_VERSION_PATCH 0 /* Z */

#ifdef __cplusplus
extern "C" {
#endif

/* Of the library that is linked, e.g. "0.1.0".  Static string. */
const char *rf_version_string(void);

#ifdef __cplusplus
}
#endif
#endif
