package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// A sink is what forwards go to. The first byte says what it does: 'u' takes all that comes and
// answers with how much that was, 'd' sends until nobody takes it.
type sink struct {
	l    net.Listener
	addr string
	host string
	port uint32
	wg   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func startSink() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	tcp := l.Addr().(*net.TCPAddr)
	s := &sink{l: l, addr: tcp.String(), host: tcp.IP.String(), port: uint32(tcp.Port), conns: map[net.Conn]bool{}}
	s.wg.Go(s.serve)
	return s, nil
}

func (s *sink) serve() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			defer s.forget(c)
			_ = s.talk(c) // the measuring side sees what went wrong
		})
	}
}

func (s *sink) forget(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// chunk is how much is read and written at once.
const chunk = 64 << 10

func (s *sink) talk(c net.Conn) error {
	p := make([]byte, chunk)
	if _, err := io.ReadFull(c, p[:1]); err != nil {
		return err
	}
	switch p[0] {
	case 'u':
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, p)
		if err != nil {
			return err
		}
		_, err = c.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
		return err
	case 'd':
		for i := range p {
			p[i] = byte(i)
		}
		for {
			if _, err := c.Write(p); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%q means nothing here", p[0])
}

func (s *sink) close() {
	s.l.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}
