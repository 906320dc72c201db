package sshd

import (
	"bytes"
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
	w := &wire{Conn: server}
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
