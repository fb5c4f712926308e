/* What PID 1 of an environment tells the spawner, over the SOCK_SEQPACKET socket that it finds as descriptor 3.
 *
 * One message is one struct thaw_stub_report, in the byte order of the machine: both ends are on it. This header is C,
 * because the stub is. */
#ifndef THAW_SANDBOX_STUB_REPORT_H_
#define THAW_SANDBOX_STUB_REPORT_H_

enum {
  THAW_STUB_REPORT_FD = 3,
  /* value: 0. The function's execve(2) has succeeded. */
  THAW_STUB_RUNNING = 0x7101,
  /* value: errno of the execve(2), or of the fork(2) before it. The stub ends after this. */
  THAW_STUB_EXEC_FAILED = 0x7102,
  /* value: the wait status of the function, as wait(2) defines it. The stub ends after this. */
  THAW_STUB_ENDED = 0x7103,
};

struct thaw_stub_report {
  unsigned int kind;
  int value;
};

#endif /* THAW_SANDBOX_STUB_REPORT_H_ */
