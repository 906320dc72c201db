package postgres

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// A cancelKey is what a client needs to cancel: the server's process id, and a secret of the gate's.
type cancelKey struct{ pid, secret uint32 }

func (t *Target) remember(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sessions[s.key] = s
}

func (t *Target) forget(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s.key)
}

// cancel does what a CancelRequest asks for: a statement that is held is withdrawn, one that runs is
// cancelled on the server. A key that is not known is ignored, as PostgreSQL ignores it.
func (t *Target) cancel(key cancelKey) {
	t.mu.Lock()
	s := t.sessions[key]
	t.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	waiting := s.waiting
	s.mu.Unlock()
	if waiting != nil {
		waiting(errCanceled)
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	if err := s.cancelOnServer(ctx); err != nil {
		t.c.Log.Warn("cancel request not delivered", "target", t.c.Name, "error", err)
	}
}

// cancelOnServer sends the server's own key to the address of the session, on a connection of its own, by TLS where the
// session has it.
func (s *session) cancelOnServer(ctx context.Context) error {
	to := s.server.RemoteAddr()
	c, err := (&net.Dialer{}).DialContext(ctx, to.Network(), to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if d, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(d)
	}
	if _, encrypted := s.server.(*tls.Conn); encrypted {
		if c, err = s.encrypt(ctx, c); err != nil {
			return err
		}
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(s.secret)))
	b = binary.BigEndian.AppendUint32(b, codeCancel)
	b = binary.BigEndian.AppendUint32(b, s.key.pid)
	if _, err := c.Write(append(b, s.secret...)); err != nil {
		return err
	}
	_, _ = c.Read(make([]byte, 1)) // the server closes when it has done it
	return nil
}

// encrypt asks for TLS, as the session did.
func (s *session) encrypt(ctx context.Context, c net.Conn) (net.Conn, error) {
	if _, err := c.Write(binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, codeSSL)); err != nil {
		return nil, err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, err
	}
	if answer[0] != 'S' {
		return nil, errors.New("the server refuses TLS for a cancel request")
	}
	inner := tls.Client(c, s.tls)
	return inner, inner.HandshakeContext(ctx)
}
