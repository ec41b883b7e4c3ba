// SPDX-License-Identifier: Apache-2.0
// Makes things durable on every backend, and marks each on the disk as soon as it is acknowledged.
// See crash.h.
//
//     crash_guest DIRECTORY DISK ROUNDS [omit_sync]
//
// With omit_sync nothing is made durable and everything is marked all the same: crash_check must
// find that out, or it would find out nothing.
#include <fcntl.h>
#include <ringfall/ringfall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/kernels/crash.h"

namespace {

using namespace crash;

constexpr unsigned kAtOnce = 8;      // blocks in flight
constexpr uint64_t kLink = 1u << 31; // in user_data: an op whose answer is not the acknowledgement

[[noreturn]] void Fail(const std::string &what, int status) {
  throw std::runtime_error(what + ": " + strerror(status < 0 ? -status : status));
}

int OpenOrFail(const std::string &path, int flags) {
  int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (fd < 0) Fail(path, errno);
  return fd;
}

class Guest {
public:
  Guest(std::string directory, const std::string &disk, bool omit_sync)
      : directory_(std::move(directory)), omit_sync_(omit_sync),
        directory_fd_(OpenOrFail(directory_, O_RDONLY | O_DIRECTORY)),
        disk_fd_(OpenOrFail(disk, O_WRONLY | O_DIRECT)) {
    if (posix_memalign(&memory_, kBlock, 17 * kBlock) != 0) Fail("memory", ENOMEM);
  }

  // All workloads, in turns, so that the disk sees them mixed.
  void Run(unsigned backend, unsigned rounds) {
    OpenEngine(kBackends[backend]);
    std::vector<rf_file *> files(kWorkloadCount);
    for (unsigned i = 0; i < kWorkloadCount; i++)
      if (kWorkloads[i].kind != Kind::kReplace)
        files[i] =
            OpenFile(directory_ + "/" + NameOf(backend * kWorkloadCount + i), kWorkloads[i].direct);
    Preallocate(files);
    for (unsigned round = 0; round < rounds; round++)
      for (unsigned i = 0; i < kWorkloadCount; i++) {
        uint32_t file = backend * kWorkloadCount + i;
        if (kWorkloads[i].kind == Kind::kReplace)
          Replace(file, round + 1);
        else
          WriteBlocks(files[i], file, round);
      }
    for (rf_file *file : files)
      if (int status = rf_file_close(file); status != 0) Fail("close", status);
    CloseEngine();
  }

private:
  void OpenEngine(const char *backend) {
    rf_engine_options options;
    rf_engine_options_init(&options);
    options.choice = RF_CHOICE_REQUIRE;
    options.ignore_environment = true;
    rf_backend_by_name(backend, &options.backend);
    if (int status = rf_engine_open(&engine_, &options); status != 0) Fail(backend, status);
    if (int status = rf_queue_open(engine_, nullptr, &queue_); status != 0) Fail(backend, status);
  }

  void CloseEngine() {
    if (int status = rf_queue_close(queue_); status != 0) Fail("close", status);
    if (int status = rf_engine_close(engine_); status != 0) Fail("close", status);
  }

  rf_file *OpenFile(const std::string &path, bool direct) {
    rf_file *file;
    int flags = O_RDWR | O_CREAT | O_TRUNC | (direct ? O_DIRECT : 0);
    if (int status = rf_file_open(engine_, path.c_str(), flags, 0600, &file); status != 0)
      Fail(path, status);
    return file;
  }

  // What is written over has a place on the disk before; and all names are durable.
  void Preallocate(const std::vector<rf_file *> &files) {
    std::vector<rf_op> ops;
    for (unsigned i = 0; i < kWorkloadCount; i++)
      if (kWorkloads[i].kind == Kind::kOverwrite)
        ops.push_back(rf_op_fallocate(files[i], 0, 0, kSlots * kBlock, kLink));
    Do(ops, 0);
    for (rf_file *file : files)
      if (file != nullptr && fsync(rf_file_fd(file)) != 0) Fail("fsync", errno);
    if (fsync(directory_fd_) != 0) Fail("fsync", errno);
  }

  char *Block(unsigned i) { return static_cast<char *>(memory_) + i * kBlock; }

  // The op, and behind it what makes it durable; the last of them acknowledges the block.
  void Push(std::vector<rf_op> *ops, rf_op write, Sync sync) {
    uint64_t block = write.user_data;
    if (sync == Sync::kDsync || omit_sync_) {
      if (!omit_sync_) write.flags |= RF_OP_DSYNC;
      ops->push_back(write);
      return;
    }
    rf_op barrier =
        sync == Sync::kFsync ? rf_op_fsync(write.file, block) : rf_op_fdatasync(write.file, block);
    barrier.flags |= RF_OP_LINK;
    write.user_data |= kLink;
    ops->push_back(write);
    ops->push_back(barrier);
  }

  void WriteBlocks(rf_file *open_file, uint32_t file, unsigned round) {
    const Workload &workload = WorkloadOf(file);
    bool over = workload.kind == Kind::kOverwrite;
    std::vector<rf_op> ops;
    for (unsigned i = 0; i < kAtOnce; i++) {
      uint32_t block = round * kAtOnce + i;
      if (over) block = block * 5 % kSlots; // scattered, and each block once in a round
      Fill(Block(i), {file, block, over ? ++versions_[{file, block}] : 1});
      Push(&ops, rf_op_write(open_file, Block(i), kBlock, uint64_t{block} * kBlock, block),
           workload.sync);
    }
    Do(ops, file);
  }

  // Waits for them all; what is acknowledged is marked at once.
  void Do(const std::vector<rf_op> &ops, uint32_t file) {
    unsigned accepted = 0, done = 0;
    rf_completion some[64];
    while (done < ops.size()) {
      unsigned more = 0;
      int got = rf_submit_and_wait(queue_, ops.data() + accepted,
                                   static_cast<unsigned>(ops.size()) - accepted, &more, some, 1, 64,
                                   RF_FOREVER);
      if (got < 0) Fail("submit", got);
      accepted += more;
      done += static_cast<unsigned>(got);
      std::vector<Ack> acks;
      for (int i = 0; i < got; i++) {
        const rf_completion &one = some[i];
        if (one.status != 0) Fail(rf_op_name(static_cast<rf_op_kind>(one.kind)), one.status);
        if (one.user_data & kLink) continue;
        auto block = static_cast<uint32_t>(one.user_data);
        bool over = WorkloadOf(file).kind == Kind::kOverwrite;
        acks.push_back({file, block, over ? versions_[{file, block}] : 1});
      }
      WriteMark(acks);
    }
  }

  // A whole file in three writes, made durable, renamed over the old one, and the name made
  // durable.
  void Replace(uint32_t file, uint64_t version) {
    const unsigned blocks = BlocksOfVersion(version);
    std::string path = directory_ + "/" + NameOf(file), temporary = path + ".new";
    rf_file *fresh = OpenFile(temporary, WorkloadOf(file).direct);
    std::vector<rf_op> ops;
    for (unsigned i = 0; i < blocks; i++) Fill(Block(i), {file, i, version});
    for (unsigned part = 0; part < 3; part++) {
      unsigned from = blocks * part / 3, to = blocks * (part + 1) / 3;
      ops.push_back(rf_op_write(fresh, Block(from), (to - from) * kBlock, from * kBlock, kLink));
    }
    Do(ops, file);
    if (!omit_sync_) Do({rf_op_fsync(fresh, kLink)}, file);
    if (int status = rf_file_close(fresh); status != 0) Fail("close", status);
    if (rename(temporary.c_str(), path.c_str()) != 0) Fail("rename", errno);
    if (!omit_sync_ && fsync(directory_fd_) != 0) Fail("fsync", errno);
    WriteMark({{file, 0, version}});
  }

  void WriteMark(const std::vector<Ack> &acks) {
    if (acks.empty()) return;
    alignas(kBlock) static Mark mark;
    mark.magic = Mark::kMagic;
    mark.count = acks.size();
    memcpy(mark.acks, acks.data(), acks.size() * sizeof(Ack));
    if (pwrite(disk_fd_, &mark, sizeof(mark), kFileSystem) != sizeof(mark)) Fail("mark", errno);
  }

  std::string directory_;
  bool omit_sync_;
  int directory_fd_, disk_fd_;
  void *memory_ = nullptr;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> versions_; // started last
  rf_engine *engine_ = nullptr;
  rf_queue *queue_ = nullptr;
};

} // namespace

int main(int count, char **arguments) try {
  if (count < 4) Fail("crash_guest DIRECTORY DISK ROUNDS [omit_sync]", EINVAL);
  bool omit_sync = count > 4 && strcmp(arguments[4], "omit_sync") == 0;
  Guest guest(arguments[1], arguments[2], omit_sync);
  for (unsigned backend = 0; backend < 3; backend++)
    guest.Run(backend, static_cast<unsigned>(atoi(arguments[3])));
  return 0;
} catch (const std::exception &error) {
  fprintf(stderr, "crash_guest: %s\n", error.what());
  return 1;
}
