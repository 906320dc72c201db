package sshd

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
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
