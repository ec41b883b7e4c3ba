// SPDX-License-Identifier: Apache-2.0
// Tokens: waiting for them in every way, stopping them, progress; and the pool around them.
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "tests/fault_rig.h"
#include "tests/queue_rig.h"
#include "tests/transfer_rig.h"

namespace transfer_rig {
namespace {

constexpr size_t kMiB = 1 << 20;

class TransferTokens : public Transfers {};

// A progress function that does something once, when that many bytes have been moved.
struct Once {
  uint64_t at = 1;
  std::function<void()> what;
  std::atomic<bool> done{false};

  static void Progress(void *context, uint64_t bytes, uint64_t) {
    auto *self = static_cast<Once *>(context);
    if (bytes >= self->at && !self->done.exchange(true)) self->what();
  }
  rf_transfer_request In(rf_transfer_request request) {
    request.progress = Progress;
    request.progress_context = this;
    return request;
  }
};

// Something that a worker waits for, in a progress function: until then its transfer is unfinished.
class Gate {
public:
  void Open() { open_.store(true); }
  void Wait() const {
    while (!open_.load()) std::this_thread::yield();
  }

private:
  std::atomic<bool> open_{false};
};

TEST_P(TransferTokens, CarryTheUserPointerAndAreKeptUntilReleased) {
  std::string path = NewFile(8 * kMiB);
  rf_pool *pool = NewPool(PoolOptions(1));
  Buffer room(8 * kMiB);
  Gate gate;
  Once once{1, [&] { gate.Wait(); }, {}};
  rf_transfer_request request = once.In(ByPath(path, room.data(), room.size()));
  request.user = &room;
  rf_transfer *token = Start(pool, false, request);
  EXPECT_EQ(&room, rf_transfer_user(token));
  EXPECT_EQ(0, rf_transfer_test(token, nullptr));
  EXPECT_EQ(-ETIMEDOUT, rf_transfer_wait(token, 0, nullptr));
  EXPECT_EQ(-ETIMEDOUT, rf_transfer_wait(token, 1000, nullptr));
  EXPECT_EQ(-ETIMEDOUT, rf_pool_wait_all(pool, 1000));
  EXPECT_EQ(-EBUSY, rf_transfer_release(token));
  gate.Open();
  EXPECT_EQ(0, rf_pool_wait_all(pool, kPatience));
  rf_transfer_result result;
  EXPECT_EQ(1, rf_transfer_test(token, &result));
  EXPECT_EQ(8 * kMiB, result.bytes);
  EXPECT_EQ(0, rf_transfer_wait(token, 0, &result)); // as often as one likes
  EXPECT_EQ(0, rf_transfer_cancel(token));           // too late, and no harm
  EXPECT_EQ(0, rf_transfer_release(token));
}

TEST_P(TransferTokens, WaitAnyTellsWhichIsComplete) {
  std::string path = NewFile(kMiB);
  rf_pool *pool = NewPool();
  Buffer room(2 * kMiB);
  Gate gate;
  Once once{1, [&] { gate.Wait(); }, {}};
  rf_transfer *slow = Start(pool, false, once.In(ByPath(path, room.data(), kMiB)));
  while (!once.done.load()) std::this_thread::yield(); // one of two workers is held up
  rf_transfer *fast = Start(pool, false, ByPath(path, room.data() + kMiB, 4096));
  rf_transfer *tokens[] = {nullptr, slow, fast};
  EXPECT_EQ(2, rf_transfer_wait_any(tokens, 3, kPatience));
  EXPECT_EQ(-ETIMEDOUT, rf_transfer_wait_any(tokens, 2, 1000));
  EXPECT_EQ(-ETIMEDOUT, rf_transfer_wait_any(tokens, 2, 0));
  EXPECT_EQ(-EINVAL, rf_transfer_wait_any(tokens, 1, kPatience)); // none at all
  gate.Open();
  EXPECT_EQ(1, rf_transfer_wait_any(tokens, 2, kPatience));
  EXPECT_EQ(kMiB, Finish(slow).bytes);
  EXPECT_EQ(4096u, Finish(fast).bytes);
}

TEST_P(TransferTokens, ManyThreadsStartWhileOthersWait) {
  constexpr size_t kSize = 100001;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, 16384, 4));
  std::vector<std::thread> threads;
  std::atomic<unsigned> right{0};
  for (int i = 0; i < 8; i++)
    threads.emplace_back([&] {
      for (int round = 0; round < 20; round++) {
        Buffer a(kSize), b(kSize);
        rf_transfer *tokens[] = {Start(pool, false, ByPath(path, a.data(), kSize)),
                                 Start(pool, false, ByPath(path, b.data(), kSize - 1, 1))};
        int first = rf_transfer_wait_any(tokens, 2, kPatience);
        ASSERT_TRUE(first == 0 || first == 1) << first;
        ASSERT_EQ(kSize, Finish(tokens[0]).bytes);
        ASSERT_EQ(kSize - 1, Finish(tokens[1]).bytes);
        ASSERT_EQ("", DiffersFromPattern(a.data(), kSize, 0));
        ASSERT_EQ("", DiffersFromPattern(b.data(), kSize - 1, 1));
        right++;
      }
    });
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(160u, right);
  rf_transfer_counters counters = Counters(pool);
  EXPECT_EQ(320u, counters.started);
  EXPECT_EQ(320u, counters.completed);
  EXPECT_EQ(0u, counters.failed);
  EXPECT_EQ(160u * (2 * kSize - 1), counters.bytes);
}

TEST_P(TransferTokens, ManyMoreThanThereAreDescriptorsForCompleteOneAfterAnother) {
  std::string path = NewFile(10000);
  RF_IN_CHILD({
    StartAnewInChild();
    rf_pool *pool = NewPool();
    struct rlimit limit = {200, 200}; // two a transfer, less than the transfers
    ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
    Buffer room(10000 * 400);
    std::vector<rf_transfer *> tokens;
    for (size_t i = 0; i < 400; i++)
      tokens.push_back(Start(pool, false, ByPath(path, room.data() + 10000 * i, 10000)));
    for (rf_transfer *token : tokens) EXPECT_EQ(0, Finish(token).status);
    for (size_t i = 0; i < 400; i++)
      EXPECT_EQ("", DiffersFromPattern(room.data() + 10000 * i, 10000, 0)) << i;
  });
}

// ---- progress ----------------------------------------------------------------------------------

TEST_P(TransferTokens, ProgressRisesToTheLengthAndIsNeverToldTwiceAtOnce) {
  struct Told {
    std::atomic<int> inside{0};
    uint64_t last = 0, calls = 0;
    bool right = true;
  } told;
  constexpr size_t kSize = 5 * kMiB + 17;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(3, 65536, 4));
  Buffer room(kSize);
  rf_transfer_request request = ByPath(path, room.data(), kSize);
  request.progress_context = &told;
  request.progress = [](void *context, uint64_t bytes, uint64_t length) {
    auto *self = static_cast<Told *>(context);
    self->right = self->right && self->inside++ == 0 && bytes >= self->last && length == kSize &&
                  bytes <= length;
    self->last = bytes;
    self->calls++;
    self->inside--;
  };
  EXPECT_EQ(kSize, Read(pool, request).bytes);
  EXPECT_TRUE(told.right);
  EXPECT_EQ(kSize, told.last);
  EXPECT_GT(told.calls, 1u);
}

// One block for each worker: the second one is done while the first is being told of.
TEST_P(TransferTokens, ProgressThatIsToldSlowlyStillEndsAtTheLength) {
  constexpr size_t kBlock = 65536, kSize = 2 * kBlock;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, kBlock, 1));
  Buffer room(kSize);
  for (int i = 0; i < 5; i++) {
    uint64_t last = 0;
    rf_transfer_request request = ByPath(path, room.data(), kSize);
    request.progress_context = &last;
    request.progress = [](void *context, uint64_t bytes, uint64_t) {
      *static_cast<uint64_t *>(context) = bytes;
      usleep(20000);
    };
    EXPECT_EQ(kSize, Read(pool, request).bytes);
    EXPECT_EQ(kSize, last);
  }
}

// ---- stopping ----------------------------------------------------------------------------------

TEST_P(TransferTokens, CancelInMidFlightLeavesThePrefixThatItTells) {
  constexpr size_t kSize = 64 * kMiB;
  std::string path = NewPath();
  rf_pool *pool = NewPool(PoolOptions(2, 65536, 2));
  Buffer data = Buffer::Pattern(kSize);
  rf_transfer *token = nullptr;
  Gate started;
  Once once{kMiB, [&] { started.Wait(), rf_transfer_cancel(token); }, {}};
  token = Start(pool, true, once.In(ByPath(path, data.data(), kSize)));
  started.Open();
  rf_transfer_result result = Finish(token);
  EXPECT_EQ(-ECANCELED, result.status);
  EXPECT_GT(result.bytes, 0u);
  EXPECT_LT(result.bytes, kSize);
  std::vector<unsigned char> found = Content(path);
  ASSERT_GE(found.size(), result.bytes);
  EXPECT_EQ("", DiffersFromPattern(found.data(), result.bytes, 0));
  EXPECT_LT(found.size(), kSize) << "what was allocated for the rest is still there";
  EXPECT_EQ(1u, Counters(pool).cancelled);
}

TEST_P(TransferTokens, CancelBeforeItBeginsDoesNothingAtAll) {
  std::string path = NewFile(kMiB), made = NewPath();
  rf_pool *pool = NewPool(PoolOptions(1));
  Buffer room(2 * kMiB);
  Gate gate;
  Once once{1, [&] { gate.Wait(); }, {}};
  rf_transfer *first = Start(pool, false, once.In(ByPath(path, room.data(), kMiB)));
  while (!once.done.load()) std::this_thread::yield(); // its only worker is held up
  rf_transfer *second = Start(pool, true, ByPath(made, room.data() + kMiB, kMiB));
  EXPECT_EQ(0, rf_transfer_cancel(second));
  rf_transfer_result result;
  EXPECT_EQ(1, rf_transfer_test(second, &result)) << "at once";
  EXPECT_EQ(-ECANCELED, result.status);
  EXPECT_EQ(0u, result.bytes);
  gate.Open();
  EXPECT_EQ(kMiB, Finish(first).bytes);
  EXPECT_EQ(-ECANCELED, Finish(second).status);
  EXPECT_EQ(-1, access(made.c_str(), F_OK));
}

TEST_P(TransferTokens, TimeoutInMidFlightLeavesThePrefixThatItTells) {
  constexpr size_t kSize = 64 * kMiB;
  constexpr int64_t kTimeout = 1000000000; // far more than it takes to begin
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(1, 65536, 2));
  Buffer room(kSize);
  Once once{1,
            [&] { // until the time is up
              test_files::Stopwatch watch;
              while (watch.ns() <= kTimeout) std::this_thread::yield();
            },
            {}};
  rf_transfer_request request = once.In(ByPath(path, room.data(), kSize));
  request.timeout_ns = kTimeout;
  rf_transfer_result result = Read(pool, request);
  EXPECT_EQ(-ETIMEDOUT, result.status);
  EXPECT_GT(result.bytes, 0u);
  EXPECT_LT(result.bytes, kSize);
  EXPECT_EQ("", DiffersFromPattern(room.data(), result.bytes, 0));
  EXPECT_EQ(1u, Counters(pool).timed_out);
}

TEST_P(TransferTokens, TimeoutsEndWhatWaitsBehindOthers) {
  std::string path = NewFile(kMiB);
  rf_pool *pool = NewPool(PoolOptions(2));
  Buffer room(2 * kMiB);
  Gate gate;
  Once once{1, [&] { gate.Wait(); }, {}};
  rf_transfer *first = Start(pool, false, once.In(ByPath(path, room.data(), kMiB)));
  while (!once.done.load()) std::this_thread::yield();
  rf_transfer_request request = ByPath("/dev/null", room.data() + kMiB, kMiB);
  request.timeout_ns = 0;
  rf_transfer *second = Start(pool, false, request);
  EXPECT_EQ(-ETIMEDOUT, Finish(second).status);
  gate.Open();
  EXPECT_EQ(kMiB, Finish(first).bytes);
}

// ---- the pool ----------------------------------------------------------------------------------

TEST_P(TransferTokens, ClosingDrainsAndTokensStayValid) {
  constexpr size_t kSize = 8 * kMiB;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool();
  Buffer room(kSize);
  std::vector<rf_transfer *> tokens;
  for (size_t i = 0; i < 8; i++)
    tokens.push_back(Start(pool, false, ByPath(path, room.data() + i * kMiB, kMiB, i * kMiB)));
  ClosePool(pool, RF_POOL_DRAIN);
  for (rf_transfer *token : tokens) {
    rf_transfer_result result;
    EXPECT_EQ(1, rf_transfer_test(token, &result));
    EXPECT_EQ(0, result.status);
    EXPECT_EQ(0, rf_transfer_wait(token, RF_FOREVER, &result));
    EXPECT_EQ(kMiB, result.bytes);
    EXPECT_EQ(0, rf_transfer_release(token));
  }
  EXPECT_EQ("", DiffersFromPattern(room.data(), kSize, 0));
}

TEST_P(TransferTokens, ClosingWithCancelEndsAllOfThemWhileOthersWait) {
  constexpr size_t kSize = 64 * kMiB;
  std::string path = NewFile(kSize);
  rf_pool *pool = NewPool(PoolOptions(2, 65536, 2));
  Buffer room(kSize);
  Gate gate, waiting;
  Once once{1, [&] { gate.Wait(); }, {}};
  std::vector<rf_transfer *> tokens;
  tokens.push_back(Start(pool, false, once.In(ByPath(path, room.data(), kSize))));
  while (!once.done.load()) std::this_thread::yield();
  constexpr size_t kMore = 10; // each with memory of its own, of which little will be touched
  void *more = mmap(nullptr, kMore * kSize, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(MAP_FAILED, more);
  for (size_t i = 0; i < kMore; i++)
    tokens.push_back(
        Start(pool, false, ByPath(path, static_cast<char *>(more) + i * kSize, kSize)));
  std::thread waiter([&] {
    rf_transfer_result result;
    waiting.Open();
    EXPECT_EQ(0, rf_transfer_wait(tokens[0], kPatience, &result));
  });
  waiting.Wait();
  std::thread opener([&] { gate.Open(); });
  ClosePool(pool, RF_POOL_CANCEL);
  waiter.join();
  opener.join();
  unsigned cancelled = 0;
  for (rf_transfer *token : tokens) cancelled += Finish(token).status == -ECANCELED;
  EXPECT_GE(cancelled, 9u);
  munmap(more, kMore * kSize);
}

// Whoever holds a token needs neither the pool nor the engine: threads that are in a call on it
// while both are closed touch nothing of them.  Without a sanitizer nobody would notice.
TEST_P(TransferTokens, CallsOnTokensOutlastThePoolAndTheEngine) {
  constexpr size_t kSize = 8 * kMiB;
  std::string path = NewFile(kSize);
  rf_engine *own = nullptr;
  rf_pool *pool = nullptr;
  ASSERT_EQ(0, OpenEngine(BackendOf(GetParam()), &own));
  rf_pool_options options = PoolOptions(2, 65536, 2);
  ASSERT_EQ(0, rf_pool_open(own, &options, &pool));
  Buffer room(kSize);
  rf_transfer *token = Start(pool, false, ByPath(path, room.data(), kSize));
  std::atomic<int> begun{0};
  auto until_done = [&](auto &&call) {
    return std::thread([&begun, call] {
      begun++;
      while (!call()) std::this_thread::yield();
    });
  };
  std::vector<std::thread> threads;
  threads.push_back(until_done([&] { return rf_transfer_test(token, nullptr) == 1; }));
  threads.push_back(until_done([&] { return rf_transfer_wait(token, 0, nullptr) == 0; }));
  threads.push_back(until_done([&] { return rf_transfer_wait(token, 1000, nullptr) == 0; }));
  threads.push_back(until_done([&] { return rf_transfer_wait_any(&token, 1, 0) == 0; }));
  threads.push_back(until_done([&] { return rf_transfer_wait_any(&token, 1, RF_FOREVER) == 0; }));
  threads.push_back(until_done([&] {
    EXPECT_EQ(0, rf_transfer_cancel(token));
    return rf_transfer_test(token, nullptr) == 1;
  }));
  while (begun.load() < static_cast<int>(threads.size())) std::this_thread::yield();
  EXPECT_EQ(0, rf_pool_close(pool, RF_POOL_DRAIN));
  EXPECT_EQ(0, rf_engine_close(own));
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(0, rf_transfer_cancel(token));
  rf_transfer_result result;
  EXPECT_EQ(0, rf_transfer_wait_any(&token, 1, RF_FOREVER));
  EXPECT_EQ(0, rf_transfer_wait(token, RF_FOREVER, &result));
  EXPECT_TRUE(result.status == 0 || result.status == -ECANCELED) << result.status;
  EXPECT_EQ(0, rf_transfer_release(token));
}

TEST_P(TransferTokens, OptionsOutOfRangeAreRefused) {
  rf_pool *pool = nullptr;
  auto refused = [&](auto &&change) {
    rf_pool_options options = PoolOptions();
    change(options);
    return rf_pool_open(engine(), &options, &pool) == -EINVAL;
  };
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.workers = 0; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.workers = RF_POOL_WORKERS_MAX + 1; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.block_size = RF_POOL_BLOCK_MIN - 1; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.block_size = size_t{RF_POOL_BLOCK_MAX} + 1; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.queue_depth = 0; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.queue_depth = RF_POOL_DEPTH_MAX + 1; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.bounce_limit = RF_POOL_BOUNCE_MIN - 1; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.bounce_limit = RF_POOL_BOUNCE_MAX + 1; }));
  EXPECT_TRUE(refused([](rf_pool_options &o) { o.size = sizeof(o) + 1; }));
  EXPECT_EQ(nullptr, pool);
}

TEST_P(TransferTokens, RequestsThatMakeNoSenseAreRefused) {
  rf_pool *pool = NewPool(PoolOptions(1));
  Buffer room(4096);
  std::string path = NewPath();
  rf_transfer *token = nullptr;
  auto answer = [&](auto &&change) {
    rf_transfer_request request = ByPath(path, room.data(), 4096);
    change(request);
    return rf_transfer_write(pool, &request, &token);
  };
  using Request = rf_transfer_request;
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.path = nullptr; }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.fd = 0; }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.path = nullptr, r.fd = -2; }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.flags = 1u << 30; }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.durability = static_cast<rf_durability>(9); }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.offset = UINT64_MAX; }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.offset = INT64_MAX - 4095; }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.flags |= RF_TRANSFER_REPLACE, r.offset = 1; }));
  EXPECT_EQ(-EINVAL, answer([](Request &r) { r.size = 2; }));
  EXPECT_EQ(-EFAULT, answer([](Request &r) { r.buffer = nullptr; }));
  EXPECT_EQ(nullptr, token);
  EXPECT_EQ(-1, access(path.c_str(), F_OK));
  EXPECT_EQ(0u, Counters(pool).started);
}

TEST_P(TransferTokens, AForkedChildCanOnlyCloseAndTheParentGoesOn) {
  std::string path = NewFile(kMiB);
  rf_pool *pool = NewPool();
  Buffer room(kMiB);
  Gate gate;
  Once once{1, [&] { gate.Wait(); }, {}};
  rf_transfer *open = Start(pool, false, once.In(ByPath(path, room.data(), kMiB)));
  while (!once.done.load()) std::this_thread::yield();
  in_child::Outcome outcome = in_child::Run([&] {
    rf_transfer *token = nullptr;
    rf_transfer_request request = ByPath(path, room.data(), 1);
    rf_transfer_counters counters;
    EXPECT_EQ(-EBADF, rf_transfer_read(pool, &request, &token));
    EXPECT_EQ(-EBADF, rf_transfer_read_sync(pool, &request, nullptr));
    EXPECT_EQ(-EBADF, rf_transfer_wait(open, RF_FOREVER, nullptr));
    EXPECT_EQ(-EBADF, rf_transfer_wait_any(&open, 1, RF_FOREVER));
    EXPECT_EQ(-EBADF, rf_transfer_cancel(open));
    EXPECT_EQ(-EBADF, rf_pool_wait_all(pool, RF_FOREVER));
    EXPECT_EQ(-EBADF, rf_pool_counters(pool, &counters));
    EXPECT_EQ(0, rf_transfer_release(open));
    EXPECT_EQ(0, rf_pool_close(pool, RF_POOL_DRAIN));
  });
  gate.Open();
  EXPECT_TRUE(outcome.ended_with(in_child::kDone)) << outcome.how() << "\n" << outcome.output;
  EXPECT_EQ(kMiB, Finish(open).bytes);
  EXPECT_EQ("", DiffersFromPattern(room.data(), kMiB, 0));
}

double CpuSeconds() {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// What shows busy waiting is CPU time that grows while nothing is done.
TEST_P(TransferTokens, LatencyOfBlocksIsKeptOnlyWhenAskedFor) {
  std::string path = NewFile(8 * kMiB);
  Buffer room(8 * kMiB);
  rf_latency latency;
  rf_pool_options options = PoolOptions(2);
  EXPECT_EQ(-ENODATA, rf_pool_latency(NewPool(options), &latency));
  options.latency = true;
  rf_pool *pool = NewPool(options);
  ASSERT_EQ(0, rf_pool_latency(pool, &latency));
  EXPECT_EQ(0u, latency.count);
  rf_transfer_request request = ByPath(path, room.data(), room.size());
  EXPECT_EQ(0, rf_transfer_read_sync(pool, &request, nullptr));
  ASSERT_EQ(0, rf_pool_latency(pool, &latency));
  EXPECT_GE(latency.count, Counters(pool).blocks); // of all workers
  EXPECT_GT(latency.total_ns, 0u);
  EXPECT_LE(rf_latency_at(&latency, 0.5), latency.max_ns);
}

TEST_P(TransferTokens, IdleWorkersSleep) {
  std::string path = NewFile(4096);
  rf_pool *pool = NewPool(PoolOptions(8));
  Buffer room(4096);
  EXPECT_EQ(4096u, Read(pool, ByPath(path, room.data(), 4096)).bytes);
  uint64_t woken = Counters(pool).wakeups;
  double before = CpuSeconds();
  EXPECT_EQ(0, poll(nullptr, 0, 200)); // 200 ms in which nobody has anything to do
  EXPECT_LT(CpuSeconds() - before, 0.1);
  EXPECT_EQ(woken, Counters(pool).wakeups);
}

TEST_P(TransferTokens, SmallTransfersOneAfterAnotherStayOnOneWorker) {
  std::string path = NewFile(4096);
  rf_pool *pool = NewPool(PoolOptions(16));
  Buffer room(4096);
  for (int i = 0; i < 50; i++) EXPECT_EQ(4096u, Read(pool, ByPath(path, room.data(), 4096)).bytes);
  EXPECT_LE(Counters(pool).wakeups, 50u + 16u) << "more than one worker is woken for each";
}

INSTANTIATE_TEST_SUITE_P(Everywhere, TransferTokens, testing::ValuesIn(DiskCases()), CaseName);

// ---- a backend that answers 'not now' ----------------------------------------------------------

TEST(TransferStops, CancelEndsWhatIsInFlight) {
  fault_rig::Faults faults;
  queue_rig::Rig rig;
  // Each request but the first block's is tried again after pauses.
  faults.Plan("stand_in error=EAGAIN:io_uring,read,from=65536");
  rig.OpenFile();
  ASSERT_EQ(0, ftruncate(rig.fd, 16 * 65536));
  ASSERT_EQ(0, rig.OpenEngine(faults.injector()));
  rf_pool_options options = PoolOptions(1, 65536, 8);
  rf_pool *pool = nullptr;
  ASSERT_EQ(0, rf_pool_open(rig.engine, &options, &pool));
  Buffer room(16 * 65536);
  rf_transfer *token = nullptr;
  Gate started;
  Once once{1, [&] { started.Wait(), rf_transfer_cancel(token); }, {}};
  rf_transfer_request request = once.In(ByFd(rig.fd, room.data(), room.size()));
  ASSERT_EQ(0, rf_transfer_read(pool, &request, &token));
  started.Open();
  rf_transfer_result result;
  ASSERT_EQ(0, rf_transfer_wait(token, kPatience, &result));
  EXPECT_EQ(-ECANCELED, result.status) << "not the EAGAIN after all retries";
  EXPECT_EQ(65536u, result.bytes);
  EXPECT_EQ(0, rf_transfer_release(token));
  EXPECT_EQ(0, rf_pool_close(pool, RF_POOL_DRAIN));
  EXPECT_EQ(nullptr, rf_fault_broken_rule(faults.injector()));
}

// Once the new file has its name: -ECANCELED or -ETIMEDOUT would mean that it is the old one.
TEST(TransferStops, CancelAfterAReplacementHasItsNameComesTooLate) {
  fault_rig::Faults faults;
  queue_rig::Rig rig;
  // The second one is that of the directory, which is tried again after pauses.
  faults.Plan("stand_in error=EAGAIN:io_uring,fsync,@2x6");
  rig.OpenFile();
  ASSERT_EQ(0, rig.OpenEngine(faults.injector()));
  rf_pool_options options = PoolOptions(1, 65536, 8);
  rf_pool *pool = nullptr;
  ASSERT_EQ(0, rf_pool_open(rig.engine, &options, &pool));
  char path[] = "/tmp/ringfall-replaced-XXXXXX";
  close(mkstemp(path));
  Buffer data(5000);
  rf_transfer_request request = ByPath(path, data.data(), data.size());
  request.flags = RF_TRANSFER_REPLACE;
  request.durability = RF_DURABLE_ENTRY;
  rf_transfer *token = nullptr;
  ASSERT_EQ(0, rf_transfer_write(pool, &request, &token));
  struct stat found = {};
  while (found.st_size == 0 && rf_transfer_test(token, nullptr) == 0) stat(path, &found);
  EXPECT_EQ(0, rf_transfer_test(token, nullptr)) << "the directory is still to be synced";
  EXPECT_EQ(0, rf_transfer_cancel(token));
  rf_transfer_result result;
  ASSERT_EQ(0, rf_transfer_wait(token, kPatience, &result));
  EXPECT_EQ(0, result.status);
  EXPECT_EQ(5000u, result.bytes);
  unlink(path);
  EXPECT_EQ(0, rf_transfer_release(token));
  EXPECT_EQ(0, rf_pool_close(pool, RF_POOL_DRAIN));
  EXPECT_EQ(nullptr, rf_fault_broken_rule(faults.injector()));
}

} // namespace
} // namespace transfer_rig
