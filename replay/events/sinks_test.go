package events

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-ssh/sallyport/policies/notify"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lines are n events as they go out.
func lines(t testing.TB, n int) (all [][]byte) {
	t.Helper()
	for i := range n {
		b, err := mapper{"1"}.audit(ledger.Event{N: int64(i + 1), At: time.Unix(1e9, 5e6), Kind: "console.refused", Gate: "g", ActorName: "é\x1b[31m", Denied: true}).line()
		must(t, err)
		all = append(all, b)
	}
	return all
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.jsonl")
	must(t, os.WriteFile(name, []byte(`{"torn`), 0o600)) // what a dying gate left
	f, err := OpenFile(name)
	must(t, err)
	defer f.Close()
	want := lines(t, 3)
	must(t, f.Send(t.Context(), want[:2]))
	must(t, os.Rename(name, name+".1")) // as log rotation does
	must(t, f.Send(t.Context(), want[2:]))
	for file, text := range map[string]string{name + ".1": "{\"torn\n" + string(want[0]) + "\n" + string(want[1]) + "\n", name: string(want[2]) + "\n"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", file, got, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	must(t, os.Remove(name))
	must(t, os.Mkdir(name, 0o700))
	if err := f.Send(t.Context(), want); err == nil {
		t.Error("sent into a directory")
	}
	must(t, os.Remove(name))
	must(t, f.Send(t.Context(), want)) // and over when the fault is
}

func TestStream(t *testing.T) {
	var b bytes.Buffer
	want := lines(t, 2)
	must(t, Stream{&b}.Send(t.Context(), want))
	if b.String() != string(want[0])+"\n"+string(want[1])+"\n" {
		t.Errorf("%q", b.String())
	}
}

// rfc5424 is the form of a message, RFC 5424 section 6.
var rfc5424 = regexp.MustCompile(`^<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) - (\{.*\})$`)

func checkMessage(t *testing.T, m []byte, want []byte) {
	t.Helper()
	got := rfc5424.FindSubmatch(m)
	if got == nil || !bytes.Equal(got[7], want) {
		t.Fatalf("message %q, want one with %s", m, want)
	}
	if string(got[1]) != "108" || string(got[2]) != "2001-09-09T01:46:40.005Z" || string(got[4]) != "sallyport" || string(got[6]) != "console.refused" {
		t.Errorf("header of %q", m)
	}
}

// receive reads octet-counted messages (RFC 6587 section 3.4.1) until the end.
func receive(r io.Reader) (all [][]byte, err error) {
	b := bufio.NewReader(r)
	for {
		count, err := b.ReadString(' ')
		if err == io.EOF && count == "" {
			return all, nil
		}
		n, nerr := strconv.Atoi(strings.TrimSpace(count))
		if err != nil || nerr != nil {
			return all, fmt.Errorf("count %q: %v", count, err)
		}
		m := make([]byte, n)
		if _, err := io.ReadFull(b, m); err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

// serve accepts one connection after the other until the test ends.
func serve(t *testing.T, l net.Listener, each func(net.Conn)) string {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	go func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			each(c)
			c.Close()
		}
	}()
	return l.Addr().String()
}

func TestSyslogStreams(t *testing.T) {
	pair, pool := selfSigned(t)
	for _, network := range []string{"tcp", "tls", "unix"} {
		t.Run(network, func(t *testing.T) {
			family, where := "tcp", "127.0.0.1:0"
			if network == "unix" {
				family, where = "unix", filepath.Join(t.TempDir(), "log")
			}
			l, err := net.Listen(family, where)
			must(t, err)
			if network == "tls" {
				l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}})
			}
			got := make(chan [][]byte, 1)
			addr := serve(t, l, func(c net.Conn) {
				all, err := receive(c)
				if err != nil {
					t.Error(err)
				}
				got <- all
			})
			s, err := NewSyslog(SyslogOptions{Network: network, Address: addr, TLS: &tls.Config{RootCAs: pool}})
			must(t, err)
			want := lines(t, 3)
			must(t, s.Send(t.Context(), want))
			all := <-got
			if len(all) != 3 {
				t.Fatalf("%d messages", len(all))
			}
			for i := range all {
				checkMessage(t, all[i], want[i])
			}
		})
	}
}

func TestSyslogDatagrams(t *testing.T) {
	for network, family := range map[string]string{"udp": "udp", "unix": "unixgram"} {
		where := "127.0.0.1:0"
		if network == "unix" {
			where = filepath.Join(t.TempDir(), "log")
		}
		c, err := net.ListenPacket(family, where)
		must(t, err)
		defer c.Close()
		s, err := NewSyslog(SyslogOptions{Network: network, Address: c.LocalAddr().String()})
		must(t, err)
		want := lines(t, 2)
		must(t, s.Send(t.Context(), want))
		buf := make([]byte, 64<<10)
		for i := range want {
			n, _, err := c.ReadFrom(buf)
			must(t, err)
			checkMessage(t, buf[:n], want[i])
		}
	}
}

// TestSyslogNotTaken: what the server has not read to the end is not taken.
func TestSyslogNotTaken(t *testing.T) {
	for name, each := range map[string]func(net.Conn){
		"reset in the middle": func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 10))
			_ = c.(*net.TCPConn).SetLinger(0)
		},
		"talks back for ever": func(c net.Conn) { _, _ = io.Copy(c, strings.NewReader(strings.Repeat("x", 1<<20))) },
		"never ends":          func(c net.Conn) { _, _ = io.Copy(io.Discard, c); <-t.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			s, err := NewSyslog(SyslogOptions{Network: "tcp", Address: serve(t, l, each)})
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if err := s.Send(ctx, lines(t, 50)); err == nil {
				t.Error("counts as taken")
			}
		})
	}
	s, err := NewSyslog(SyslogOptions{Network: "tcp", Address: "127.0.0.1:1"})
	must(t, err)
	if err := s.Send(t.Context(), lines(t, 1)); err == nil {
		t.Error("taken by nobody")
	}
}

func TestWebhook(t *testing.T) {
	secret := []byte("0123456789abcdef")
	answers := []int{500, 302, 204}
	var got []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := notify.Verify(secret, r.Header.Get(notify.SignatureHeader), body, time.Now(), time.Minute); err != nil {
			t.Error(err)
		}
		if r.Header.Get("Content-Type") != "application/x-ndjson" || len(r.Header.Get(notify.DeliveryHeader)) != 32 {
			t.Errorf("headers %v", r.Header)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answers[0])
		if answers[0] == 204 {
			got = body
		}
		answers = answers[1:]
	}))
	defer srv.Close()
	s, err := NewWebhook(srv.URL+"/token-in-the-url", secret, nil)
	must(t, err)
	defer s.Close()
	want := lines(t, 2)
	for range 2 {
		if err := s.Send(t.Context(), want); err == nil || strings.Contains(err.Error(), "token") {
			t.Errorf("an answer that takes nothing: %v", err)
		}
	}
	must(t, s.Send(t.Context(), want))
	if string(got) != string(want[0])+"\n"+string(want[1])+"\n" {
		t.Errorf("got %q", got)
	}
	srv.Close()
	if err := s.Send(t.Context(), want); err == nil || strings.Contains(err.Error(), "token") {
		t.Errorf("nobody there: %v", err)
	}
	for address, key := range map[string]string{"ftp://x": string(secret), "https://x": "short", "": string(secret)} {
		if _, err := NewWebhook(address, []byte(key), nil); err == nil {
			t.Errorf("%q with %q is taken", address, key)
		}
	}
}

// TestLinesAreOneLine: whatever an event holds, it is one line, and acts on no terminal.
func TestLinesAreOneLine(t *testing.T) {
	var all strings.Builder
	for r := rune(0); r < 0x3000; r++ {
		all.WriteRune(r)
	}
	b, err := mapper{"1"}.audit(ledger.Event{N: 1, Kind: "x", ActorName: all.String(), Source: all.String(), Target: all.String()}).line()
	must(t, err)
	for _, r := range string(b) {
		if r < 0x20 {
			t.Fatalf("%U in a line", r)
		}
	}
	if !json.Valid(b) {
		t.Error("not JSON")
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
