// SPDX-License-Identifier: Apache-2.0
/*
 * Tracepoints (USDT) of the provider `ringfall`, which bpftrace, perf and gdb attach to;
 * docs/tracing.md tells their arguments to users.  Each is one nop and a note in the program's
 * .note.stapsdt until somebody attaches.  They are there if <sys/sdt.h> was when this was compiled;
 * otherwise they are nothing.
 */
#ifndef RINGFALL_ENGINE_TRACE_H
#define RINGFALL_ENGINE_TRACE_H

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#define RF_HAS_TRACEPOINTS 1
#endif
#endif

#ifdef RF_HAS_TRACEPOINTS
/* Where an argument may be found: in memory or a register, never as a constant.  A probe is
 * compiled into several places; perf takes them as one event only if their arguments are alike. */
#define STAP_SDT_ARG_CONSTRAINT or
#include <sys/sdt.h>
#if defined(__clang__) /* with -Wpedantic it blames for a macro of that header whoever uses it */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#define RF_TRACE_4(name, a, b, c, d)       DTRACE_PROBE4(ringfall, name, a, b, c, d)
#define RF_TRACE_5(name, a, b, c, d, e)    DTRACE_PROBE5(ringfall, name, a, b, c, d, e)
#define RF_TRACE_6(name, a, b, c, d, e, f) DTRACE_PROBE6(ringfall, name, a, b, c, d, e, f)
#else
#define RF_TRACE_4(name, a, b, c, d)       ((void)(a), (void)(b), (void)(c), (void)(d))
#define RF_TRACE_5(name, a, b, c, d, e)    (RF_TRACE_4(name, a, b, c, d), (void)(e))
#define RF_TRACE_6(name, a, b, c, d, e, f) (RF_TRACE_5(name, a, b, c, d, e), (void)(f))
#endif

#endif
