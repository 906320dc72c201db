package sshd

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// stallTimeout ends a connection whose peer takes nothing at all for so long. It is generous because a
// person may suspend their client; a peer whose host is gone is found sooner, by TCP keep-alives.
const stallTimeout = 15 * time.Minute

// readAhead is how much a busy connection reads at once. x/crypto reads through 4 KiB, which costs two
// system calls for each packet of 32 KiB.
const readAhead = 128 << 10

var readBuffers = sync.Pool{New: func() any { return new([readAhead]byte) }}

// A wire is the socket beneath a connection. It reads ahead while the peer is busy, without keeping a
// buffer while it is idle, and gives up on a peer that takes nothing. Reads come from one goroutine.
type wire struct {
	net.Conn
	buf  *[readAhead]byte
	rest []byte // of buf, unread
	busy bool   // the last read filled what it was given
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.rest) > 0 {
		return w.take(p), nil
	}
	if !w.busy || len(p) >= readAhead {
		n, err := w.Conn.Read(p)
		w.busy = n == len(p)
		return n, err
	}
	w.buf = readBuffers.Get().(*[readAhead]byte)
	n, err := w.Conn.Read(w.buf[:])
	w.busy = n == readAhead
	w.rest = w.buf[:n]
	return w.take(p), err
}

func (w *wire) take(p []byte) int {
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	if len(w.rest) == 0 && w.buf != nil {
		readBuffers.Put(w.buf)
		w.buf = nil
	}
	return n
}

func (w *wire) Write(p []byte) (int, error) {
	if err := w.Conn.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

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
