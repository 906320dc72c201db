package sshd

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
)

// However reads and writes are cut, the wire gives the bytes that were sent.
func TestWireReadsWhatWasSent(t *testing.T) {
	client, server := tcpPair(t)
	r := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 4<<20)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	copy(want, greeting)
	go func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(90_000))
			if _, err := client.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		client.Close()
	}()
	w := newWire(server)
	var got bytes.Buffer
	sizes := []int{1, 4, 4096, 32 << 10, 100, 200 << 10}
	for i := 0; ; i++ {
		buf := make([]byte, sizes[i%len(sizes)])
		n, err := w.Read(buf)
		got.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("got %d bytes, want the %d that were sent", got.Len(), len(want))
	}
	if w.buf != nil || len(w.rest) != 0 {
		t.Error("an idle wire keeps a buffer")
	}
}

// What does not begin like SSH is told so and ended, also when it comes byte by byte.
func TestWireEndsWhatIsNotSSH(t *testing.T) {
	for _, tt := range []struct{ say, want string }{
		{"GET / HTTP/1.1\r\n\r\n", ""}, {"\x16\x03\x01", ""}, {"SSH_2.0", ""}, {"\r\nSSH-2.0-x\r\n", ""}, {"ssh-2.0", ""},
		{"SSH-2.0-x\r\n", "SSH-2.0-x\r\n"}, {"SSH", "SSH"},
	} {
		client, server := tcpPair(t)
		go func() { io.WriteString(client, tt.say); client.(*net.TCPConn).CloseWrite() }()
		w := newWire(server)
		var got []byte
		var err error
		for b := make([]byte, 1); err == nil; {
			var n int
			n, err = w.Read(b)
			got = append(got, b[:n]...)
		}
		server.Close()
		told, _ := io.ReadAll(client)
		if refused := errors.Is(err, errNotSSH); refused != (tt.want == "") || refused != bytes.Contains(told, []byte("SSH server")) {
			t.Errorf("%q: ended with %v, told %q", tt.say, err, told)
		}
		if tt.want != "" && string(got) != tt.want {
			t.Errorf("%q came as %q", tt.say, got)
		}
	}
}

func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// However it is written and whatever waits, what is written arrives, in order, also what was written just before Close.
func TestWireWritesArrive(t *testing.T) {
	client, server := tcpPair(t)
	r := rand.New(rand.NewPCG(3, 4))
	want := make([]byte, 6<<20)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	w := newWire(server)
	go func() {
		sizes := []int{4096, 28 << 10, 1, 52, 4096, 300 << 10, 13}
		for i, rest := 0, want; len(rest) > 0; i++ {
			n := min(len(rest), sizes[i%len(sizes)])
			if k, err := w.Write(rest[:n]); k != n || err != nil {
				t.Errorf("Write of %d bytes = %d, %v", n, k, err)
				break
			}
			rest = rest[n:]
		}
		w.Close()
	}()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes and %v, want the %d that were written", len(got), err, len(want))
	}
	w.wait()
	if w.out.next != nil || w.out.busy {
		t.Error("a wire with nothing to write keeps a buffer, or its goroutine")
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after Close returned %v", err)
	}
}

// A peer that takes nothing makes the writer wait: what is gathered is bounded. Close neither waits for that peer nor
// leaves anything behind, and whoever writes or reads learns of it.
func TestWireBoundsAndLeavesAStalledPeer(t *testing.T) {
	_, server := tcpPair(t)
	w := newWire(server)
	ended := make(chan error, 2)
	go func() {
		var err error
		for p := make([]byte, 64<<10); err == nil; {
			_, err = w.Write(p)
		}
		ended <- err
	}()
	go func() {
		_, err := w.Read(make([]byte, 1))
		ended <- err
	}()
	for full := false; !full; runtime.Gosched() {
		w.out.mu.Lock()
		full = w.out.busy && len(w.out.next) == gatherMost
		w.out.mu.Unlock()
	}
	w.Close()
	for range 2 {
		if err := <-ended; err == nil || err == io.EOF {
			t.Errorf("a stalled connection that was closed ended with %v", err)
		}
	}
	w.wait()
}

// A write that fails ends the connection, and the next one says so.
func TestWireFails(t *testing.T) {
	client, server := tcpPair(t)
	w := newWire(server)
	client.(*net.TCPConn).SetLinger(0)
	client.Close()
	var err error
	for p := make([]byte, 4<<10); err == nil; {
		_, err = w.Write(p)
	}
	w.wait()
	if _, err := w.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that failed can be read")
	}
}

// Many write at once; each one's bytes stay together.
func TestWireWritesOfManyStayWhole(t *testing.T) {
	client, server := tcpPair(t)
	w := newWire(server)
	const writers, each, size = 8, 200, 3000
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			p := bytes.Repeat([]byte{byte(i)}, size)
			for range each {
				if _, err := w.Write(p); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { all.Wait(); w.Close() }()
	var seen [writers]int
	p := make([]byte, size)
	for {
		if _, err := io.ReadFull(client, p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(p, p[:1]) != size {
			t.Fatal("writes were mixed")
		}
		seen[p[0]]++
	}
	for i, n := range seen {
		if n != each {
			t.Errorf("writer %d: %d of %d writes came", i, n, each)
		}
	}
}
