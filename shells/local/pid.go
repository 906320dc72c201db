package local

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pidHandle names one process for good, where a number may come to name another.
type pidHandle struct {
	f    *os.File
	conn syscall.RawConn
}

func openPid(pid int) (*pidHandle, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("process handle: %w", err)
	}
	f := os.NewFile(uintptr(fd), "process")
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &pidHandle{f: f, conn: conn}, nil
}

// wait returns when the process has ended, reaped or not. It costs no thread.
func (h *pidHandle) wait() error {
	return h.conn.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
	})
}

func (h *pidHandle) signal(sig unix.Signal) error {
	var err error
	if cerr := h.conn.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); cerr != nil {
		return os.ErrProcessDone
	}
	return err
}

func (h *pidHandle) kill()  { h.signal(unix.SIGKILL) }
func (h *pidHandle) close() { h.f.Close() }
