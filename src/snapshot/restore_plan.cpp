// The tables of a restore: what every thread's system calls are, from an empty address space to the last rt_sigreturn.
#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/sys.h"
#include "snapshot/arena.h"
#include "snapshot/great_ranges.h"
#include "snapshot/image_memory.h"
#include "snapshot/restore.h"
#include "snapshot/restore_layout.h"
#include "snapshot/signal_frame.h"

namespace thaw::snapshot {
namespace {

constexpr std::size_t kVectorsMax = 1024;            // UIO_MAXIOV
constexpr std::uint64_t kReadBytesMax = 1ULL << 30;  // of one preadv
constexpr std::size_t kStepsOfThread = 26;
constexpr std::size_t kStepsOfProcess = 160;

std::uint64_t address_of(const void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); }

class Planner {
 public:
  explicit Planner(const PlanInput& input)
      : input_(input),
        image_(input.request.image),
        program_data_(input.request.image),
        great_(great_ranges(input.request.image)) {}

  Result<Plan> run() {
    ASSIGN_OR_RETURN(const std::vector<SpecialPlace> specials, special_places());
    for (const SpecialPlace& special : specials) special_bytes_ += special.bytes;
    RETURN_IF_ERROR(arena_.map(image_, estimate()));
    const std::span<const std::byte> code = trampoline_code();
    auto* const code_place = arena_.take<std::byte>(code.size(), 64);
    std::memcpy(code_place, code.data(), code.size());
    arrived_ = arena_.take<std::uint32_t>();
    released_ = arena_.take<std::uint32_t>();
    *arrived_ = *released_ = 0;
    for (std::size_t i = 1; i < image_.threads.size(); ++i) RETURN_IF_ERROR(plan_thread(image_.threads[i]));
    RETURN_IF_ERROR(plan_leader(specials));
    return Plan{code_place, leader_};
  }

 private:
  std::uint64_t estimate() const {
    std::uint64_t steps = kStepsOfProcess + image_.threads.size() * (kStepsOfThread + 4) + image_.mappings.size() * 6 +
                          image_.process.posix_timers.size() * 4 + lock_count() * 2;
    std::uint64_t runs = 0;
    std::uint64_t pending = image_.process.pending.size();
    std::uint64_t frames = 0;
    for (const Mapping& mapping : image_.mappings) {
      runs += mapping.runs.size();
      steps += mapping.advice.size();
      for (const PageRun& run : mapping.runs) runs += (run.end - run.start) / kReadBytesMax;
    }
    for (const Thread& thread : image_.threads) {
      pending += thread.pending.size();
      frames += frame_bytes() + thread.affinity.size() + 1024;
    }
    steps += pending + runs + great_steps();
    runs += great_.size();
    return (image_.mappings.size() + 2 * image_.threads.size()) * sizeof(uffdio_register) + steps * sizeof(Step) +
           runs * sizeof(iovec) + pending * 128 + frames + special_bytes_ + 128 * 1024;
  }

  // Mappings over others, each with the advice of the one below, and the reads that it cuts in two.
  std::size_t great_steps() const {
    std::size_t advice_max = 0;
    for (const Mapping& mapping : image_.mappings) advice_max = std::max(advice_max, mapping.advice.size());
    return great_.size() * (2 + advice_max);
  }

  std::size_t lock_count() const {
    std::size_t count = 0;
    for (const Descriptor& descriptor : image_.descriptors) count += descriptor.locks.size();
    return count;
  }

  void begin_table(std::size_t steps) {
    table_ = arena_.take<Step>(steps, 64);
    table_end_ = table_ + steps;
  }
  void add(Operation operation, long call_number, std::array<std::uint64_t, 6> arguments) {
    if (table_ == table_end_) std::abort();
    *table_++ = {operation, static_cast<std::uint64_t>(call_number), arguments};
  }
  void call(long call_number, std::array<std::uint64_t, 6> arguments) { add(Operation::call, call_number, arguments); }
  void try_call(long call_number, std::array<std::uint64_t, 6> arguments) {
    add(Operation::try_call, call_number, arguments);
  }

  // ---- Of every thread ----

  void own_state(const Thread& thread, bool leader) {
    user_regs_struct registers;
    std::memcpy(&registers, thread.registers.data(), sizeof(registers));
    call(SYS_arch_prctl, {ARCH_SET_FS, registers.fs_base});
    if (registers.gs_base != 0) call(SYS_arch_prctl, {ARCH_SET_GS, registers.gs_base});
    if (leader) call(SYS_set_tid_address, {thread.clear_child_tid});
    if (thread.robust_list != 0) call(SYS_set_robust_list, {thread.robust_list, thread.robust_list_bytes});
    if (thread.rseq_address != 0) call(SYS_rseq, {thread.rseq_address, thread.rseq_bytes, 0, thread.rseq_signature});
    char* const name = arena_.take<char>(16);
    std::memset(name, 0, 16);
    std::memcpy(name, thread.name.data(), thread.name.size());
    try_call(SYS_prctl, {PR_SET_NAME, address_of(name)});
    if (!thread.affinity.empty()) {
      auto* const mask = arena_.take<std::byte>(thread.affinity.size(), 8);
      std::memcpy(mask, thread.affinity.data(), thread.affinity.size());
      try_call(SYS_sched_setaffinity, {0, thread.affinity.size(), address_of(mask)});
    }
    set_scheduling(thread);
    for (const Bytes& info : thread.pending) {
      std::byte* const copy = arena_.take<std::byte>(info.size(), 8);
      std::memcpy(copy, info.data(), info.size());
      int signal = 0;
      std::memcpy(&signal, info.data(), sizeof(signal));
      try_call(SYS_rt_tgsigqueueinfo,
               {image_.process.pid, thread.tid, static_cast<std::uint64_t>(signal), address_of(copy)});
    }
    drop_privileges();
    if (thread.parent_death_signal != 0) try_call(SYS_prctl, {PR_SET_PDEATHSIG, thread.parent_death_signal});
  }

  void set_scheduling(const Thread& thread) {
    if (thread.policy != SCHED_OTHER) {
      const sched_param none{};
      call(SYS_sched_setscheduler, {0, thread.policy, address_of(arena_.put(none))});
    }
    if (thread.nice != 0)
      call(SYS_setpriority, {PRIO_PROCESS, 0, static_cast<std::uint64_t>(static_cast<std::int64_t>(thread.nice))});
    if (thread.timer_slack_ns != 0) call(SYS_prctl, {PR_SET_TIMERSLACK, thread.timer_slack_ns});
    if (image_.process.personality != 0) call(SYS_personality, {image_.process.personality});
  }

  void drop_privileges() {
    const uid_t user = input_.request.user;
    if (user == 0) return;
    call(SYS_setresgid, {user, user, user});
    call(SYS_setresuid, {user, user, user});
    if (capability_header_ == nullptr) {
      capability_header_ = arena_.put(__user_cap_header_struct{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0});
      capability_data_ = arena_.take<__user_cap_data_struct>(2);
      std::memset(capability_data_, 0, 2 * sizeof(*capability_data_));
    }
    call(SYS_capset, {address_of(capability_header_), address_of(capability_data_)});
  }

  Status go_on(const Thread& thread) {
    const std::size_t bytes = frame_bytes();
    auto* const place = arena_.take<std::byte>(bytes, 64);
    ASSIGN_OR_RETURN(const std::uint64_t stack, build_frame(thread, {place, bytes}, address_of(place)));
    add(Operation::sigreturn, 0, {stack});
    return {};
  }

  Status plan_thread(const Thread& thread) {
    begin_table(kStepsOfThread + thread.pending.size());
    Step* const first = table_;
    own_state(thread, false);
    add(Operation::arrive, 0, {address_of(arrived_)});
    add(Operation::await, 0, {address_of(released_), 1});
    RETURN_IF_ERROR(go_on(thread));

    user_regs_struct registers;
    std::memcpy(&registers, thread.registers.data(), sizeof(registers));
    auto* const tid = arena_.put<pid_t>(static_cast<pid_t>(thread.tid));
    clone_args arguments{};
    arguments.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    if (thread.clear_child_tid != 0) arguments.flags |= CLONE_CHILD_CLEARTID;
    arguments.child_tid = thread.clear_child_tid;
    arguments.set_tid = address_of(tid);
    arguments.set_tid_size = 1;
    births_.push_back({Operation::clone,
                       SYS_clone3,
                       {address_of(arena_.put(arguments)), sizeof(arguments), 0, 0, 0, address_of(first)}});
    return {};
  }

  // ---- Of the process ----

  Status plan_leader(const std::vector<SpecialPlace>& specials) {
    const Thread& leader = image_.threads.front();
    std::size_t steps = kStepsOfProcess + image_.mappings.size() * 6 + image_.threads.size() * 3 +
                        leader.pending.size() + image_.process.pending.size() + image_.process.posix_timers.size() * 4 +
                        lock_count();
    for (const Mapping& mapping : image_.mappings) steps += mapping.runs.size() + mapping.advice.size();
    steps += great_steps();
    begin_table(steps);
    leader_ = table_;
    RETURN_IF_ERROR(leave_own_memory(specials));
    map_image();
    RETURN_IF_ERROR(place_specials());
    set_process();
    for (const Step& birth : births_) *table_++ = birth;
    own_state(leader, true);
    add(Operation::await, 0, {address_of(arrived_), births_.size()});
    finish();
    // While the others wait: with threads on other CPUs it takes milliseconds.
    Step* const trim = table_;
    try_call(SYS_munmap, {});
    add(Operation::arrive, 0, {address_of(released_)});
    // The others only read and run it from here on.
    try_call(SYS_mprotect, {});
    RETURN_IF_ERROR(go_on(leader));
    trim[0].arguments = {arena_.used_end(), arena_.end() - arena_.used_end()};
    trim[2].arguments = {arena_.begin(), arena_.used_end() - arena_.begin(), PROT_READ | PROT_EXEC};
    return {};
  }

  // Keeps the kernel's special mappings aside; unmaps everything but the arena.
  Status leave_own_memory(const std::vector<SpecialPlace>& specials) {
    if (__rseq_size > 0) {
      const std::uint64_t thread_pointer = address_of(__builtin_thread_pointer());
      // glibc registers 32 bytes even where it announces fewer (rseq(2), glibc 2.35).
      try_call(SYS_rseq,
               {thread_pointer + static_cast<std::uint64_t>(__rseq_offset), 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG});
    }
    for (const SpecialPlace& special : specials) {
      auto* const aside = arena_.take<std::byte>(special.bytes, kPageBytes);
      call(SYS_mremap, {special.start, special.bytes, special.bytes, MREMAP_MAYMOVE | MREMAP_FIXED, address_of(aside)});
      aside_.push_back({special.name, address_of(aside), special.bytes});
    }
    call(SYS_munmap, {0, arena_.begin()});
    call(SYS_munmap, {arena_.end(), kUserEnd - arena_.end()});
    return {};
  }

  bool lazy(const Mapping& mapping) const { return input_.userfault >= 0 && is_lazy(mapping); }

  void map_image() {
    for (std::size_t i = 0; i < image_.mappings.size(); ++i) {
      const Mapping& mapping = image_.mappings[i];
      if (mapping.kind == MappingKind::special) continue;
      lazy(mapping) ? map_lazy(mapping) : map_copied(mapping, input_.mapping_files[i]);
      for (const std::uint32_t advice : mapping.advice)
        try_call(SYS_madvise, {mapping.start, mapping.end - mapping.start, advice});
    }
    flush_reads();
    map_great();
    for (const Mapping& mapping : image_.mappings) {
      const std::uint64_t protection = mapping.protection | PROT_READ | PROT_WRITE;
      if (!mapping.runs.empty() && !lazy(mapping) && protection != mapping.protection)
        call(SYS_mprotect, {mapping.start, mapping.end - mapping.start, mapping.protection});
      if (mapping.locked) try_call(SYS_mlock, {mapping.start, mapping.end - mapping.start});
    }
    serve_faults();
  }

  void map_copied(const Mapping& mapping, int file) {
    const bool anonymous = mapping.kind == MappingKind::anonymous;
    const std::uint64_t protection = mapping.protection | (mapping.runs.empty() ? 0U : PROT_READ | PROT_WRITE);
    call(SYS_mmap, {mapping.start, mapping.end - mapping.start, protection,
                    mapping.flags | MAP_FIXED | (anonymous ? MAP_ANONYMOUS : 0U),
                    static_cast<std::uint64_t>(static_cast<std::int64_t>(file)), mapping.offset});
    for (const PageRun& run : mapping.runs) {
      if (program_data_.maps(mapping, run)) {
        call(SYS_mmap, {run.start, run.end - run.start, mapping.protection, mapping.flags | MAP_FIXED,
                        static_cast<std::uint64_t>(input_.image_file), run.start});
      } else {
        read_small(mapping, run);
      }
    }
  }

  void read_small(const Mapping& mapping, const PageRun& run) {
    if (!is_lazy(mapping)) return read_run({run.start, run.end, kImageBase + run.offset});
    AddressRanges small;
    small.add({run.start, run.end});
    for (const AddressRange& range : great_) small.subtract(range);
    for (const AddressRange& range : small.all()) read_run({range.start, range.end, range.start});
  }

  void map_lazy(const Mapping& mapping) {
    call(SYS_mmap, {mapping.start, mapping.end - mapping.start, mapping.protection, mapping.flags | MAP_FIXED,
                    static_cast<std::uint64_t>(input_.image_file), mapping.start});
    lazy_.add({mapping.start, mapping.end});
  }

  // Over what has been mapped there.
  void map_great() {
    for (const AddressRange& range : great_) {
      const auto mapping = std::find_if(image_.mappings.begin(), image_.mappings.end(),
                                        [&](const Mapping& one) { return range.start < one.end; });
      call(SYS_mmap, {range.start, range.end - range.start, mapping->protection, mapping->flags | MAP_FIXED,
                      static_cast<std::uint64_t>(input_.image_file), range.start});
      for (const std::uint32_t advice : mapping->advice)
        try_call(SYS_madvise, {range.start, range.end - range.start, advice});
      lazy_.subtract(range);
    }
  }

  void serve_faults() {
    for (const AddressRange& range : lazy_.all()) {
      const uffdio_register request{.range = {.start = range.start, .len = range.end - range.start},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
                                    .ioctls = 0};
      call(SYS_ioctl, {userfault(), UFFDIO_REGISTER, address_of(arena_.put(request))});
    }
    // What the kernel writes when a thread ends: no fault is served any more then.
    for (const Thread& thread : image_.threads) {
      map_page_of(thread.clear_child_tid);
      map_page_of(thread.robust_list);
    }
  }

  void map_page_of(std::uint64_t address) {
    if (!lazy_.find(address)) return;
    const uffdio_continue request{
        .range = {.start = address & ~(kPageBytes - 1), .len = kPageBytes}, .mode = 0, .mapped = 0};
    try_call(SYS_ioctl, {userfault(), UFFDIO_CONTINUE, address_of(arena_.put(request))});
  }

  std::uint64_t userfault() const { return static_cast<std::uint64_t>(input_.userfault); }

  // Runs that follow one another in the file go into one preadv.
  void read_run(PageRun run) {
    while (run.start < run.end) {
      const std::uint64_t part = std::min(run.end - run.start, kReadBytesMax);
      if (vector_count_ == kVectorsMax || read_bytes_ + part > kReadBytesMax ||
          (vector_count_ > 0 && read_from_ + read_bytes_ != run.offset)) {
        flush_reads();
      }
      if (vector_count_ == 0) read_from_ = run.offset;
      iovec* const vector = arena_.take<iovec>();
      if (vector_count_ == 0) vectors_ = vector;
      *vector = {reinterpret_cast<void*>(run.start), part};
      ++vector_count_;
      read_bytes_ += part;
      run.start += part;
      run.offset += part;
    }
  }

  void flush_reads() {
    if (vector_count_ == 0) return;
    add(Operation::exact, SYS_preadv,
        {static_cast<std::uint64_t>(input_.image_file), address_of(vectors_), vector_count_, read_from_, 0,
         read_bytes_});
    vector_count_ = 0;
    read_bytes_ = 0;
  }

  Status place_specials() {
    for (const Mapping& mapping : image_.mappings) {
      if (mapping.kind != MappingKind::special) continue;
      const auto found = std::find_if(aside_.begin(), aside_.end(), [&](const SpecialPlace& place) {
        return place.name == mapping.name && place.bytes == mapping.end - mapping.start;
      });
      if (found == aside_.end())
        return Error{ErrorKind::unsupported,
                     "snapshot: this kernel's " + mapping.name + " is not the one it was taken with"};
      call(SYS_mremap, {found->start, found->bytes, found->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, mapping.start});
    }
    return {};
  }

  void set_layout() {
    const Process& process = image_.process;
    auto* const vector = arena_.take<std::byte>(process.auxiliary_vector.size(), 8);
    std::memcpy(vector, process.auxiliary_vector.data(), process.auxiliary_vector.size());
    const prctl_mm_map map = layout_of(process, vector, input_.executable);
    call(SYS_prctl, {PR_SET_MM, PR_SET_MM_MAP, address_of(arena_.put(map)), sizeof(map)});
  }

  void set_process() {
    const Process& process = image_.process;
    set_layout();
    if (process.huge_pages_off) call(SYS_prctl, {PR_SET_THP_DISABLE, 1, 0, 0, 0});
    if (process.subreaper) call(SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0});
    for (std::size_t i = 0; i < kSignals; ++i) {
      const std::uint64_t signal = i + 1;
      if (signal == SIGKILL || signal == SIGSTOP) continue;
      call(SYS_rt_sigaction, {signal, address_of(arena_.put(process.actions[i])), 0, 8});
    }
    for (std::uint64_t which = 0; which < 3; ++which) {
      const auto& time = process.interval_timers[which].time;
      if (std::any_of(time.begin(), time.end(), [](std::uint64_t part) { return part != 0; }))
        call(SYS_setitimer, {which, address_of(arena_.put(time)), 0});
    }
    for (std::size_t i = 0; i < kResourceLimits; ++i) {
      const rlimit limit{process.limits[i][0], process.limits[i][1]};
      try_call(SYS_setrlimit, {i, address_of(arena_.put(limit))});
    }
    for (const Bytes& info : process.pending) {
      std::byte* const copy = arena_.take<std::byte>(info.size(), 8);
      std::memcpy(copy, info.data(), info.size());
      int signal = 0;
      std::memcpy(&signal, info.data(), sizeof(signal));
      try_call(SYS_rt_sigqueueinfo, {process.pid, static_cast<std::uint64_t>(signal), address_of(copy)});
    }
  }

  // With every thread there: what must come last, because it takes away what the steps before need.
  void finish() {
    const RestoreRequest& request = input_.request;
    for (const PosixTimer& timer : image_.process.posix_timers) set_timer(timer);
    // Without privileges, no filter without it.
    if (request.user != 0 || !request.filter.empty()) call(SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0});
    if (!lazy_.all().empty() || !great_.empty()) install_filter(memory_filter(great_));
    if (!request.filter.empty()) install_filter(request.filter);
    if (image_.process.dumpable) try_call(SYS_prctl, {PR_SET_DUMPABLE, 1});
    char* const message = arena_.take<char>(request.running.size() + 1);
    std::memcpy(message, request.running.data(), request.running.size());
    const auto report = static_cast<std::uint64_t>(input_.report);
    if (report > input_.first_free) call(SYS_close_range, {input_.first_free, report - 1, 0});
    call(SYS_close_range, {report + 1, ~0U, 0});
    // To close any descriptor of a file gives up the process's locks on it: they come when the last is closed.
    for (const Descriptor& descriptor : image_.descriptors) set_locks(descriptor);
    call(SYS_write, {report, address_of(message), request.running.size()});
    call(SYS_close, {report});
  }

  void set_locks(const Descriptor& descriptor) {
    for (const FileLock& lock : descriptor.locks) {
      if (lock.kind != 1) continue;
      struct flock range {};
      range.l_type = lock.exclusive ? F_WRLCK : F_RDLCK;
      range.l_whence = SEEK_SET;
      range.l_start = static_cast<off_t>(lock.start);
      range.l_len = static_cast<off_t>(lock.length);
      call(SYS_fcntl, {descriptor.numbers.front(), F_SETLK, address_of(arena_.put(range))});
    }
  }

  void install_filter(std::span<const sock_filter> filter) {
    auto* const copy = arena_.take<sock_filter>(filter.size());
    std::memcpy(copy, filter.data(), filter.size_bytes());
    const sock_fprog program{static_cast<unsigned short>(filter.size()), copy};
    add(Operation::exact, SYS_seccomp,
        {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, address_of(arena_.put(program)), 0, 0, 0});
  }

  void set_timer(const PosixTimer& timer) {
    // Ids are given out in order unless one asks for its own (prctl(2), PR_TIMER_CREATE_RESTORE_IDS, since 6.15).
    constexpr std::uint64_t kRestoreIds = 77;
    sigevent event{};
    event.sigev_signo = timer.signal;
    event.sigev_notify = timer.notify;
    event.sigev_value.sival_ptr = reinterpret_cast<void*>(timer.value);
    event._sigev_un._tid = static_cast<pid_t>(timer.tid);
    auto* const id = arena_.put(timer.id);
    call(SYS_prctl, {kRestoreIds, 1, 0, 0, 0});
    call(SYS_timer_create, {static_cast<std::uint64_t>(timer.clock), address_of(arena_.put(event)), address_of(id)});
    call(SYS_prctl, {kRestoreIds, 0, 0, 0, 0});
    call(SYS_timer_settime, {static_cast<std::uint64_t>(timer.id), 0, address_of(arena_.put(timer.time)), 0});
  }

  const PlanInput& input_;
  const Image& image_;
  const ProgramData program_data_;
  const std::vector<AddressRange> great_;
  Arena arena_;
  std::uint64_t special_bytes_ = 0;
  std::uint32_t* arrived_ = nullptr;
  std::uint32_t* released_ = nullptr;
  Step* table_ = nullptr;
  Step* table_end_ = nullptr;
  Step* leader_ = nullptr;
  std::vector<Step> births_;
  std::vector<SpecialPlace> aside_;
  AddressRanges lazy_;
  iovec* vectors_ = nullptr;
  std::size_t vector_count_ = 0;
  std::uint64_t read_from_ = 0;
  std::uint64_t read_bytes_ = 0;
  __user_cap_header_struct* capability_header_ = nullptr;
  __user_cap_data_struct* capability_data_ = nullptr;
};

}  // namespace

Result<Plan> make_plan(const PlanInput& input) { return Planner(input).run(); }

}  // namespace thaw::snapshot
