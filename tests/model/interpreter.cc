// SPDX-License-Identifier: Apache-2.0
#include "tests/model/interpreter.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace model {
namespace {

constexpr int64_t kLostNs = INT64_C(20000000000);
constexpr uint64_t kAlign = 4096;
constexpr unsigned char kGuard = 0xA5;

// ---- programs ----------------------------------------------------------------------------------

struct FaultPlan {
  const char *text;
  std::set<int> errors; // that may reach an op
};

const FaultPlan kPlans[] = {
    {"", {}},
    {"short=40%", {}},
    {"short error=EINTR:30%", {}},
    {"short=60% delay=3:40% reorder", {}},
    {"error=EIO:10%", {EIO}},
    {"short=50% error=ENOSPC:write,writev,8%", {ENOSPC}},
    {"error=EAGAIN:25% error=EBUSY:5% partial=2:50%", {}},
    {"refuse=EAGAIN:20% partial=1:30%", {}},
    {"capacity=3 reorder delay=1:30%", {}},
    {"death=EPERM@20 short=30%", {}},
    {"death=EPERM@60:io_uring death=ENOSYS@30:libaio short=20%", {}},
    {"error=EINVAL:io_uring,libaio,20% lack:fsync,writev", {}},
    {"error=ECANCELED:io_uring,libaio,20% delay=100us:20%", {}},
    {"deaf=EPERM short=30% delay=2:20%", {}},
    {"error=0:write,x2,each short=20%", {}},
    {"short error=EIO:fsync,fdatasync,fallocate,50% reorder", {EIO}},
};
constexpr size_t kPlanCount = sizeof(kPlans) / sizeof(kPlans[0]);

enum Action { kOp, kCancel, kFlush, kReap, kWait, kWaitAll };

struct Step {
  Action action = kOp;
  uint8_t kind = RF_OP_NOP; // RF_OP_KINDS: none such
  uint8_t flags = 0;
  uint64_t offset = 0, len = 0;
  unsigned parts = 1;
  unsigned misalign = 0;
  uint64_t deadline_ns = 0;
  unsigned count = 0; // what to wait for, or which one to cancel
  uint8_t seed = 0;
};

struct Program {
  unsigned depth = 1, batch = 1;
  size_t plan = 0;
  unsigned seed = 0; // of the plan
  bool direct = false;
  std::vector<Step> steps;
};

uint64_t Length(unsigned number) {
  switch (number >> 13) {
    case 0:
      return number & 7;
    case 1:
    case 2:
    case 3:
      return number & 1023;
    case 4:
    case 5:
      return 4096 * (number & 7);
    case 6:
      return number & 8191;
    default:
      return 4 * (number & 8191) + 1;
  }
}

uint64_t Align(uint64_t value) {
  return value / kAlign * kAlign;
}

Step Decode(const unsigned char *bytes, bool direct) {
  static const uint8_t kinds[] = {RF_OP_WRITE,     RF_OP_WRITE,   RF_OP_READ,  RF_OP_READ,
                                  RF_OP_WRITEV,    RF_OP_READV,   RF_OP_FSYNC, RF_OP_FDATASYNC,
                                  RF_OP_FALLOCATE, RF_OP_DISCARD, RF_OP_NOP,   RF_OP_WRITE,
                                  RF_OP_READ,      RF_OP_WRITEV,  RF_OP_READV, RF_OP_KINDS};
  Step step;
  unsigned first = bytes[0];
  step.seed = bytes[9];
  step.count = bytes[8];
  if (first >= 192) {
    step.action = static_cast<Action>(kCancel + (first >> 3) % 5);
    if (step.action == kWaitAll && first % 4 != 0) step.action = kReap;
    return step;
  }
  step.kind = kinds[first & 15];
  unsigned flags = bytes[1];
  if (flags & 1 && flags & 2) step.flags |= RF_OP_LINK;
  if ((flags & 0x1c) == 4) step.flags |= RF_OP_ALLOW_SHORT;
  if ((flags & 0x1c) == 8) step.flags |= RF_OP_DSYNC;
  if ((flags & 0xe0) == 0xe0) step.deadline_ns = (step.count % 16 + 1u) * 20000u;
  unsigned place = bytes[2] | static_cast<unsigned>(bytes[3]) << 8;
  step.offset = place & 1 ? place & 0x3fffu : 2u * place;
  step.len = Length(bytes[4] | static_cast<unsigned>(bytes[5]) << 8);
  step.parts = bytes[6] % 6;
  step.misalign = bytes[7];
  if (direct) {
    step.offset = Align(step.offset);
    step.len = Align(step.len);
    step.misalign = 0;
  }
  return step;
}

Program Decode(const std::string &text) {
  Program program;
  auto *bytes = reinterpret_cast<const unsigned char *>(text.data());
  if (text.size() < kHead) return program;
  program.depth = bytes[0] < 64 ? 1 + bytes[0] % 8u : 1 + 2u * bytes[0];
  program.batch = 1 + bytes[1] % 64u;
  program.plan = bytes[2] % kPlanCount;
  program.direct = bytes[3] % 4 == 0;
  program.seed = bytes[3];
  for (size_t at = kHead; at + kStep <= text.size(); at += kStep)
    program.steps.push_back(Decode(bytes + at, program.direct));
  return program;
}

// ---- ops in flight -----------------------------------------------------------------------------

bool IsWrite(uint8_t kind) {
  return kind == RF_OP_WRITE || kind == RF_OP_WRITEV;
}
bool IsRead(uint8_t kind) {
  return kind == RF_OP_READ || kind == RF_OP_READV;
}

struct Flight {
  Step step;
  uint64_t id = 0;     // user_data: the order of acceptance, from 1
  uint64_t chain = 0;  // the id of its first op
  bool linked = false; // to the op with id - 1
  bool cancelled = false;
  bool must_stop = false; // rf_cancel said so
  std::string data;       // what is written
  std::vector<unsigned char> memory;
  unsigned char *buffer = nullptr; // in memory
  std::vector<iovec> parts;
};

// Splits a buffer in parts, some of them empty.
void MakeParts(Flight *flight, bool direct) {
  uint64_t left = flight->step.len;
  unsigned char *at = flight->buffer;
  for (unsigned i = 0; i + 1 < flight->step.parts; i++) {
    uint64_t len = flight->step.misalign % 3 == i ? 0 : left / (2 + i);
    if (direct) len = Align(len);
    flight->parts.push_back({at, len});
    at += len;
    left -= len;
  }
  if (flight->step.parts > 0)
    flight->parts.push_back({at, left});
  else
    flight->step.len = 0; // a vector of nothing
}

std::string Content(uint8_t seed, uint64_t id, uint64_t len) {
  std::string data(len, '\0');
  uint32_t state = static_cast<uint32_t>(id * 2654435761u + seed);
  for (char &byte : data) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  return data;
}

} // namespace

// ---- a run -------------------------------------------------------------------------------------

class Run {
public:
  Run(Host *host, const Program &program) : host_(*host), program_(program) {}

  std::string Do() {
    Prepare();
    for (const Step &step : program_.steps) {
      if (!wrong_.empty()) break;
      Take(step);
    }
    if (wrong_.empty()) WaitForAll();
    if (wrong_.empty()) CompareFile();
    if (!host_.lost_ && rf_queue_close(queue_) != 0) Wrong("the queue cannot be closed");
    const char *rule = host_.injector_ == nullptr ? nullptr : rf_fault_broken_rule(host_.injector_);
    if (rule != nullptr) Wrong(std::string("the core broke a rule: ") + rule);
    return wrong_;
  }

private:
  void Wrong(const std::string &what) {
    if (wrong_.empty()) wrong_ = what;
  }

  void Prepare() {
    direct_ = program_.direct && host_.files_[1] != nullptr;
    file_ = host_.files_[direct_ ? 1 : 0];
    if (ftruncate(host_.fds_[0], 0) != 0) Wrong("ftruncate");
    if (host_.injector_ != nullptr) {
      rf_fault_plan plan;
      std::string text = "seed=" + std::to_string(program_.seed) + " " + kPlans[program_.plan].text;
      if (rf_fault_plan_parse(text.c_str(), &plan, nullptr) != 0 ||
          rf_fault_injector_plan(host_.injector_, &plan) != 0)
        Wrong("no such plan: " + text);
      errors_ = kPlans[program_.plan].errors;
    }
    rf_queue_options options;
    rf_queue_options_init(&options);
    options.depth = program_.depth;
    options.batch = program_.batch;
    options.workers = 4;
    int status = rf_queue_open(host_.engine_, &options, &queue_);
    if (status != 0) Wrong("rf_queue_open: " + std::to_string(status));
  }

  // ---- ops ----

  uint64_t End(const Step &step) const { return step.offset + step.len; }

  bool Changes(const Step &step) const {
    return IsWrite(step.kind) || step.kind == RF_OP_FALLOCATE || step.kind == RF_OP_DISCARD;
  }

  // Would the order of the two matter?
  bool Conflict(const Step &a, const Step &b) const {
    bool a_changes = Changes(a), b_changes = Changes(b);
    if (!a_changes && !b_changes) return false;
    bool data = (a_changes || IsRead(a.kind)) && (b_changes || IsRead(b.kind));
    if (!data) return false;
    if (a.offset < End(b) && b.offset < End(a)) return true;
    uint64_t size = file_model_.size(); // what is in flight may make it larger
    bool looks = End(a) > size && End(b) > size;
    return looks && !(IsWrite(a.kind) && IsWrite(b.kind));
  }

  bool MustWaitFor(const Step &step, uint64_t chain) const {
    for (const auto &flight : flights_)
      if (flight->chain != chain && Conflict(flight->step, step)) return true;
    return false;
  }

  std::unique_ptr<Flight> Make(const Step &step) {
    auto flight = std::make_unique<Flight>();
    flight->step = step;
    flight->id = last_id_ + 1;
    size_t shift = direct_ ? 0 : step.misalign % 64;
    flight->memory.assign(step.len + 2 * kAlign + 64, kGuard);
    auto address = reinterpret_cast<uintptr_t>(flight->memory.data());
    flight->buffer = flight->memory.data() + (kAlign - address % kAlign) % kAlign + shift;
    if (step.kind == RF_OP_READV || step.kind == RF_OP_WRITEV) MakeParts(flight.get(), direct_);
    if (IsWrite(step.kind)) {
      flight->data = Content(step.seed, flight->id, flight->step.len);
      memcpy(flight->buffer, flight->data.data(), flight->data.size());
    }
    return flight;
  }

  rf_op OpOf(const Flight &flight) const {
    const Step &step = flight.step;
    rf_op op = rf_op_make(static_cast<rf_op_kind>(step.kind), file_, flight.id);
    op.flags = step.flags;
    op.offset = step.offset;
    op.deadline_ns = step.deadline_ns;
    op.len = step.len;
    if (step.kind == RF_OP_READV || step.kind == RF_OP_WRITEV) {
      op.iov = flight.parts.data();
      op.len = flight.parts.size();
    } else if (IsRead(step.kind) || IsWrite(step.kind)) {
      op.buf = flight.buffer;
    }
    return op;
  }

  void Submit(Step step) {
    if ((step.kind == RF_OP_FALLOCATE || step.kind == RF_OP_DISCARD) && !host_.holes_)
      step.kind = RF_OP_NOP;
    bool linked = step.flags & RF_OP_LINK && last_id_ > 0;
    if (MustWaitFor(step, linked ? last_chain_ : 0)) WaitForAll();
    if (!wrong_.empty()) return;
    std::unique_ptr<Flight> flight = Make(step);
    rf_op op = OpOf(*flight);
    int n = rf_submit(queue_, &op, 1);
    if (flights_.size() < program_.depth ? n != 1 : n != -EAGAIN)
      return Wrong("rf_submit answers " + std::to_string(n) + " with " +
                   std::to_string(flights_.size()) + " ops in a queue of " +
                   std::to_string(program_.depth));
    if (n == -EAGAIN) {
      Wait(1, kLostNs);
      if (!wrong_.empty() || rf_submit(queue_, &op, 1) != 1)
        return Wrong("rf_submit takes nothing though there is room");
    }
    flight->linked = linked;
    flight->chain = linked ? last_chain_ : flight->id;
    last_id_ = flight->id;
    last_chain_ = flight->chain;
    statuses_.push_back(kUnknown);
    flights_.push_back(std::move(flight));
  }

  // ---- completions ----

  void Wait(unsigned min, int64_t timeout_ns) {
    rf_completion done[64];
    min = std::min<unsigned>({min, 64, static_cast<unsigned>(flights_.size())});
    int n =
        timeout_ns == 0 ? rf_reap(queue_, done, 64) : rf_wait(queue_, done, min, 64, timeout_ns);
    if (n < 0) return Wrong("waiting answers " + std::to_string(n));
    if (static_cast<unsigned>(n) < min && timeout_ns == kLostNs) {
      host_.lost_ = true;
      return Wrong(std::to_string(flights_.size()) + " ops never complete");
    }
    for (int i = 0; i < n && wrong_.empty(); i++) Complete(done[i]);
  }

  void WaitForAll() {
    while (!flights_.empty() && wrong_.empty()) Wait(64, kLostNs);
    rf_completion more;
    if (wrong_.empty() && rf_wait(queue_, &more, 0, 1, 0) != 0)
      Wrong("a completion too many: op " + std::to_string(more.user_data));
  }

  std::string Name(const Flight &flight, const rf_completion &done) const {
    return "op " + std::to_string(flight.id) + " (" +
           rf_op_name(static_cast<rf_op_kind>(flight.step.kind)) + " of " +
           std::to_string(flight.step.len) + " at " + std::to_string(flight.step.offset) +
           ") has status " + std::to_string(done.status) + ", " + std::to_string(done.bytes) +
           " bytes: ";
  }

  void Complete(const rf_completion &done) {
    auto at = std::find_if(flights_.begin(), flights_.end(),
                           [&](const auto &one) { return one->id == done.user_data; });
    if (at == flights_.end())
      return Wrong("op " + std::to_string(done.user_data) + " completes twice, or was never there");
    std::unique_ptr<Flight> flight = std::move(*at);
    flights_.erase(at);
    statuses_[flight->id - 1] = done.status;
    std::string what = CheckStatus(*flight, done);
    if (what.empty()) what = CheckBytes(*flight, done);
    if (what.empty()) what = Apply(*flight, done);
    if (!what.empty()) Wrong(Name(*flight, done) + what);
  }

  // "" if an op may have this status.
  std::string CheckStatus(const Flight &flight, const rf_completion &done) const {
    const Step &step = flight.step;
    if (step.kind >= RF_OP_KINDS && done.status == -EINVAL) return ""; // at once, linked or not
    bool stopped = (done.status == -ECANCELED && flight.cancelled) ||
                   (done.status == -ETIMEDOUT && step.deadline_ns != 0);
    if (flight.linked && statuses_[flight.id - 2] == kUnknown)
      return stopped ? "" : "before the op that it was linked to";
    bool broken = flight.linked && statuses_[flight.id - 2] != 0;
    bool stopped_early = flight.cancelled || step.deadline_ns != 0;
    if (step.kind >= RF_OP_KINDS) return broken && done.status == -ECANCELED ? "" : "not EINVAL";
    if (broken && done.status != -ECANCELED && !stopped_early)
      return "though the op that it was linked to had failed";
    if (flight.must_stop && done.status != -ECANCELED && done.status != -ETIMEDOUT)
      return "though rf_cancel had stopped it";
    if (done.status == 0) return "";
    if (done.status == -ECANCELED) return broken || flight.cancelled ? "" : "nobody asked for it";
    if (done.status == -ETIMEDOUT) return step.deadline_ns != 0 ? "" : "it had no deadline";
    if (step.kind == RF_OP_FALLOCATE || step.kind == RF_OP_DISCARD)
      if (step.len == 0 && done.status == -EINVAL) return "";
    return errors_.count(-done.status) ? "" : "no such fault was planned";
  }

  uint64_t Available(const Step &step) const {
    if (!IsRead(step.kind)) return IsWrite(step.kind) ? step.len : 0;
    uint64_t size = file_model_.size();
    return step.offset >= size ? 0 : std::min(step.len, size - step.offset);
  }

  // "" if an op may have moved so many bytes.
  std::string CheckBytes(const Flight &flight, const rf_completion &done) const {
    uint64_t most = Available(flight.step), bytes = static_cast<uint64_t>(done.bytes);
    if (done.bytes < 0 || bytes > most) return "at most " + std::to_string(most) + " can be";
    if (done.status != 0)
      return bytes < most || most == 0 || IsRead(flight.step.kind) || done.status != -ECANCELED
                 ? ""
                 : "it moved everything and failed";
    if (bytes < most && !(flight.step.flags & RF_OP_ALLOW_SHORT))
      return "not all of " + std::to_string(most);
    return "";
  }

  // Changes the model, or compares what was read with it.
  std::string Apply(const Flight &flight, const rf_completion &done) {
    const Step &step = flight.step;
    auto bytes = static_cast<size_t>(done.bytes);
    if (IsWrite(step.kind) && bytes > 0) {
      if (file_model_.size() < step.offset + bytes) file_model_.resize(step.offset + bytes);
      memcpy(&file_model_[step.offset], flight.data.data(), bytes);
    } else if (IsRead(step.kind)) {
      if (memcmp(flight.buffer, file_model_.data() + step.offset, bytes) != 0)
        return "other bytes than were written";
      if (flight.buffer[step.len] != kGuard) return "wrote behind the buffer";
    } else if (step.kind == RF_OP_FALLOCATE && done.status == 0) {
      if (file_model_.size() < End(step)) file_model_.resize(End(step));
    } else if (step.kind == RF_OP_DISCARD && done.status == 0) {
      uint64_t end = std::min<uint64_t>(End(step), file_model_.size());
      for (uint64_t at = step.offset; at < end; at++) file_model_[at] = '\0';
    }
    return "";
  }

  void CompareFile() {
    struct stat info;
    std::string back(file_model_.size() + 1, '\0');
    if (fstat(host_.fds_[0], &info) != 0) return Wrong("fstat");
    if (static_cast<uint64_t>(info.st_size) != file_model_.size())
      return Wrong("the file has " + std::to_string(info.st_size) + " bytes, not " +
                   std::to_string(file_model_.size()));
    ssize_t got = pread(host_.fds_[0], back.data(), back.size(), 0);
    back.resize(got < 0 ? 0 : static_cast<size_t>(got));
    if (back == file_model_) return;
    size_t at = static_cast<size_t>(
        std::mismatch(back.begin(), back.end(), file_model_.begin()).first - back.begin());
    Wrong("the file differs from byte " + std::to_string(at) + " on");
  }

  void Cancel(unsigned which) {
    uint64_t id = last_id_ == 0 ? 1 : 1 + (last_id_ - 1 + which) % last_id_;
    auto at = std::find_if(flights_.begin(), flights_.end(),
                           [&](const auto &one) { return one->id == id; });
    if (at == flights_.end() && which % 4 != 0 && !flights_.empty())
      at = flights_.begin() + static_cast<long>(which % flights_.size());
    if (at != flights_.end()) id = (*at)->id;
    int answer = rf_cancel(queue_, id);
    if (at == flights_.end()) {
      if (answer != -ENOENT) Wrong("rf_cancel finds an op that is not there");
      return;
    }
    if (answer < 0) return Wrong("rf_cancel does not find op " + std::to_string(id));
    if (answer != RF_CANCEL_FINISHED) (*at)->cancelled = true;
    if (answer == RF_CANCEL_STOPPED) (*at)->must_stop = true;
  }

  void Take(const Step &step) {
    switch (step.action) {
      case kOp:
        return Submit(step);
      case kCancel:
        return Cancel(step.count);
      case kFlush:
        if (rf_flush(queue_) != 0) Wrong("rf_flush");
        return;
      case kReap:
        return Wait(0, 0);
      case kWait:
        return Wait(step.count % 8, step.seed % 2 == 0 ? kLostNs : 100000);
      case kWaitAll:
        return WaitForAll();
    }
  }

  static constexpr int kUnknown = 1;

  Host &host_;
  const Program &program_;
  std::string wrong_;
  bool direct_ = false;
  rf_file *file_ = nullptr;
  rf_queue *queue_ = nullptr;
  std::set<int> errors_;
  std::string file_model_;
  uint64_t last_id_ = 0, last_chain_ = 0;
  std::vector<int> statuses_; // by id - 1
  std::vector<std::unique_ptr<Flight>> flights_;
};

// ---- hosts -------------------------------------------------------------------------------------

Host::~Host() {
  if (lost_) return;
  for (rf_file *file : files_) rf_file_close(file);
  rf_engine_close(engine_);
  rf_fault_injector_close(injector_);
  for (int fd : fds_)
    if (fd >= 0) close(fd);
}

int Host::Open(rf_backend_id id, bool wrapped, const std::string &directory) {
  rf_engine_options options;
  rf_fault_plan none = {};
  rf_engine_options_init(&options);
  options.choice = wrapped ? RF_CHOICE_PREFER : RF_CHOICE_REQUIRE;
  options.backend = id_ = id;
  options.ignore_environment = true;
  int status = wrapped ? rf_fault_injector_open(&none, &injector_) : 0;
  if (status == 0)
    status = wrapped ? rf_fault_engine_open(injector_, &engine_, &options)
                     : rf_engine_open(&engine_, &options);
  if (status != 0) return status;
  if (rf_engine_host(engine_)->selected != id) return -ENOTSUP;
  std::string path = directory + "/ringfall-model-XXXXXX";
  fds_[0] = mkstemp(path.data());
  if (fds_[0] < 0) return -errno;
  fds_[1] = open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  unlink(path.c_str());
  holes_ = fallocate(fds_[0], 0, 0, 4096) == 0 &&
           fallocate(fds_[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;
  status = rf_file_from_fd(engine_, fds_[0], false, &files_[0]);
  if (status == 0 && fds_[1] >= 0) status = rf_file_from_fd(engine_, fds_[1], false, &files_[1]);
  return status;
}

std::string Host::Run(const std::string &text) {
  Program program = Decode(text);
  return model::Run(this, program).Do();
}

std::string Generate(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string program(kHead + kStep * (1 + random() % (random() % 4 == 0 ? 300 : 60)), '\0');
  for (char &byte : program) byte = static_cast<char>(random());
  return program;
}

std::string Describe(const std::string &text) {
  static const char *const names[] = {"op", "cancel", "flush", "reap", "wait", "wait for all"};
  Program program = Decode(text);
  std::string words = "depth " + std::to_string(program.depth) + ", batch " +
                      std::to_string(program.batch) + (program.direct ? ", direct" : "") +
                      ", faults: \"seed=" + std::to_string(program.seed) + " " +
                      kPlans[program.plan].text + "\"\n";
  for (const Step &step : program.steps) {
    words += "  ";
    if (step.action != kOp) {
      words += std::string(names[step.action]) + " " + std::to_string(step.count) + "\n";
      continue;
    }
    words += std::string(rf_op_name(static_cast<rf_op_kind>(step.kind))) + " of " +
             std::to_string(step.len) + " at " + std::to_string(step.offset) + ", flags " +
             std::to_string(step.flags) + ", parts " + std::to_string(step.parts) +
             (step.deadline_ns != 0 ? ", deadline " + std::to_string(step.deadline_ns) : "") + "\n";
  }
  return words;
}

} // namespace model
