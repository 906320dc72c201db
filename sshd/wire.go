package sshd

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// stallTimeout ends a connection whose peer takes nothing at all for so long. It is generous because a
// person may suspend their client; a peer whose host is gone is found sooner, by TCP keep-alives.
const stallTimeout = 15 * time.Minute

// readAhead is how much is read from a socket at once. x/crypto reads through 4 KiB, and a client's first
// line byte by byte.
const readAhead = 128 << 10

var readBuffers = sync.Pool{New: func() any { return new([readAhead]byte) }}

// greeting is what a client's first bytes must be: only a server may say anything before its version (RFC
// 4253 section 4.2).
const greeting = "SSH-"

var errNotSSH = errors.New("the client does not speak SSH")

// A wire is the socket beneath a connection. It reads as much as has come, without keeping a buffer while
// nothing does, writes together what comes together, ends what does not begin like SSH, and gives up on a peer that
// takes nothing. Reads come from one goroutine.
type wire struct {
	net.Conn
	out  gatherer
	raw  syscall.RawConn // nil if Conn has none
	buf  *[readAhead]byte
	rest []byte // of buf, unread
	seen int    // bytes of the greeting

	why atomic.Pointer[error] // why this side closed it, if it did
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	w.out.init(c)
	if sc, ok := c.(syscall.Conn); ok {
		w.raw, _ = sc.SyscallConn() // without it, reads are smaller
	}
	return w
}

// closeFor ends the connection and keeps the reason.
func (w *wire) closeFor(why error) {
	w.why.CompareAndSwap(nil, &why)
	w.Close()
}

// Close ends the connection, without waiting for what is still being written; see [wire.wait].
func (w *wire) Close() error { return w.out.close() }

// wait returns when nothing of a wire that was closed is left.
func (w *wire) wait() { w.out.wait() }

func (w *wire) Read(p []byte) (int, error) {
	if len(w.rest) == 0 {
		if w.raw == nil || len(p) >= readAhead {
			n, err := w.Conn.Read(p)
			return w.greeted(p[:n], err)
		}
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	if len(w.rest) == 0 {
		readBuffers.Put(w.buf)
		w.buf = nil
	}
	return w.greeted(p[:n], nil)
}

// fill waits until something has come, and only then takes a buffer.
func (w *wire) fill() error {
	var failed error
	waited := w.raw.Read(func(fd uintptr) bool {
		buf := readBuffers.Get().(*[readAhead]byte)
		n, err := unix.Read(int(fd), buf[:])
		for err == unix.EINTR {
			n, err = unix.Read(int(fd), buf[:])
		}
		if n > 0 {
			w.buf, w.rest = buf, buf[:n]
			return true
		}
		readBuffers.Put(buf)
		if err == unix.EAGAIN {
			return false
		}
		if failed = io.EOF; err != nil {
			failed = os.NewSyscallError("read", err)
		}
		return true
	})
	if failed == nil {
		failed = waited
	}
	return failed
}

// greeted passes on what was read, if it still can be the beginning of SSH.
func (w *wire) greeted(p []byte, err error) (int, error) {
	for i := 0; i < len(p) && w.seen < len(greeting); i++ {
		if p[i] != greeting[w.seen] {
			w.hangUp()
			return 0, errNotSSH
		}
		w.seen++
	}
	return len(p), err
}

// hangUp tells whoever came to the wrong port. A socket's buffer takes one line without waiting.
func (w *wire) hangUp() {
	_ = w.Conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = w.Conn.Write([]byte("This is an SSH server.\r\n"))
}

// Write returns before p is with the kernel.
func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

// An innerConn is an SSH channel as a net.Conn, for the connection that is terminated inside a forward.
// Its addresses are those of the outer one, so that source-address means the same on both.
type innerConn struct {
	ssh.Channel
	local, remote net.Addr
}

func (c innerConn) LocalAddr() net.Addr  { return c.local }
func (c innerConn) RemoteAddr() net.Addr { return c.remote }

// Deadlines do not exist on a channel; whoever needs one closes the connection.
func (c innerConn) SetDeadline(time.Time) error      { return nil }
func (c innerConn) SetReadDeadline(time.Time) error  { return nil }
func (c innerConn) SetWriteDeadline(time.Time) error { return nil }

// sourceOf is the client's address without port, IPv4-mapped addresses as IPv4. It is the zero Addr
// when there is none, as on a Unix socket.
func sourceOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
