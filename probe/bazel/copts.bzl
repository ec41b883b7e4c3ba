# SPDX-License-Identifier: Apache-2.0
"""Compiler flags of ringfall's own targets. Consumers' code never sees them."""

# _GNU_SOURCE is here and not in `defines`, which would reach every consumer's files.
RINGFALL_COPTS = [
    "-std=c17",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
]

# For the C++ of tests; -Wconversion would complain about googletest's own macros.
RINGFALL_TEST_COPTS = [
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wshadow",
]
