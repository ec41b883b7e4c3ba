# SPDX-License-Identifier: Apache-2.0
"""The libraries ringfall takes from the host: the one list that WORKSPACE and MODULE.bazel share.

Nothing here is looked at before a target asks for it, so a consumer of //engine needs neither
jansson nor OpenSSL nor googletest.
"""

load(":system_library.bzl", "system_library")

def system_libraries(**common):
    """Declares the repositories @ringfall_libaio, @ringfall_liburing and those of the tools.

    Args:
      **common: further attributes for each of them.
    """
    system_library(
        name = "ringfall_libaio",
        target = "libaio",
        switch = "RINGFALL_BUILD_AIO",
        links = ["aio"],
        headers = ["libaio.h"],
        # io_pgetevents came with 0.3.111; the backend waits with it.
        calls = ["io_pgetevents(0, 0, 0, 0, 0, 0)"],
        packages = {
            "apk": "libaio-dev",
            "apt": "libaio-dev",
            "dnf": "libaio-devel",
            "pacman": "libaio",
            "zypper": "libaio-devel",
        },
        **common
    )
    system_library(
        name = "ringfall_liburing",
        target = "liburing",
        switch = "RINGFALL_BUILD_URING",
        links = ["uring"],
        headers = ["liburing.h"],
        owned = ["liburing/"],
        # io_uring_enter2 came with 2.3, the oldest that will do.
        calls = [
            "io_uring_queue_init_params(0, 0, 0)",
            "io_uring_register_ring_fd(0)",
            "io_uring_enter2(0, 0, 0, 0, 0, 0)",
            # Debian 12's shared library lacks this one; its archive has it.
            "io_uring_enable_rings(0)",
        ],
        packages = {
            "apk": "liburing-dev",
            "apt": "liburing-dev",
            "dnf": "liburing-devel",
            "pacman": "liburing",
            "zypper": "liburing-devel",
        },
        **common
    )
    system_library(
        name = "ringfall_jansson",
        target = "jansson",
        links = ["jansson"],
        headers = ["jansson.h"],
        owned = ["jansson_config.h"],
        calls = ["json_dumpf(0, 0, 0)"],
        packages = {
            "apk": "jansson-dev",
            "apt": "libjansson-dev",
            "dnf": "jansson-devel",
            "pacman": "jansson",
            "zypper": "libjansson-devel",
        },
        **common
    )
    system_library(
        name = "ringfall_crypto",
        target = "crypto",
        links = ["crypto"],
        # The host's security updates must reach the program.
        prefer_static = False,
        headers = ["openssl/evp.h"],
        owned = ["openssl/"],
        calls = ["EVP_DigestInit_ex(0, EVP_sha256(), 0)"],
        packages = {
            "apk": "openssl-dev",
            "apt": "libssl-dev",
            "dnf": "openssl-devel",
            "pacman": "openssl",
            "zypper": "libopenssl-devel",
        },
        **common
    )

def system_benchmark(**common):
    """Declares @ringfall_benchmark: Google Benchmark, for tests/bench.

    Args:
      **common: further attributes.
    """
    system_library(
        name = "ringfall_benchmark",
        target = "benchmark",
        cxx = True,
        links = ["benchmark"],
        also_link = ["-lstdc++", "-lm", "-pthread"],
        headers = ["benchmark/benchmark.h"],
        owned = ["benchmark/"],
        calls = ["benchmark::RunSpecifiedBenchmarks()"],
        packages = {
            "apk": "benchmark-dev",
            "apt": "libbenchmark-dev",
            "dnf": "google-benchmark-devel",
            "pacman": "benchmark",
            "zypper": "benchmark-devel",
        },
        **common
    )

def system_libuv(**common):
    """Declares @ringfall_libuv, for examples/libuv_loop.c.

    Args:
      **common: further attributes.
    """
    system_library(
        name = "ringfall_libuv",
        target = "libuv",
        links = ["uv"],
        prefer_static = False,
        headers = ["uv.h"],
        owned = ["uv/"],
        calls = ["uv_poll_init(0, 0, 0)"],
        packages = {
            "apk": "libuv-dev",
            "apt": "libuv1-dev",
            "dnf": "libuv-devel",
            "pacman": "libuv",
            "zypper": "libuv-devel",
        },
        **common
    )

def system_googletest(**common):
    """Declares @googletest, under the targets' names that the Central Registry's module has.

    Args:
      **common: further attributes.
    """
    system_library(
        name = "googletest",
        target = "googletest",
        aliases = ["gtest", "gtest_main"],
        cxx = True,
        links = ["gmock_main", "gmock", "gtest"],
        also_link = ["-lstdc++", "-lm", "-pthread"],
        headers = ["gmock/gmock.h", "gtest/gtest.h"],
        owned = ["gmock/", "gtest/"],
        calls = ["testing::InitGoogleMock()"],
        packages = {
            "apk": "gtest-dev",
            "apt": "libgtest-dev libgmock-dev",
            "dnf": "gtest-devel gmock-devel",
            "pacman": "gtest",
            "zypper": "googletest-devel",
        },
        **common
    )
