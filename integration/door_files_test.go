package integration

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
)

// An sftpTalk speaks the protocol packet by packet, as no honest client does.
type sftpTalk struct {
	t  *testing.T
	ch ssh.Channel
}

func openSFTP(t *testing.T, c *ssh.Client) sftpTalk {
	t.Helper()
	ch, requests := sessionChannel(t, c)
	go ssh.DiscardRequests(requests)
	if !ask(t, ch, "subsystem", startRequest("sftp")) {
		t.Fatal("sftp was refused")
	}
	return sftpTalk{t, ch}
}

// packet is one of the draft, section 3: numbers are uint32, strings have their length.
func packet(kind byte, fields ...any) []byte {
	body := []byte{kind}
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			body = binary.BigEndian.AppendUint32(body, uint32(f))
		case string:
			body = append(binary.BigEndian.AppendUint32(body, uint32(len(f))), f...)
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func (s sftpTalk) send(packets ...[]byte) {
	s.t.Helper()
	for _, p := range packets {
		if _, err := s.ch.Write(p); err != nil {
			s.t.Fatal(err)
		}
	}
}

// next returns the type, the id and the rest of the next reply.
func (s sftpTalk) next() (kind byte, id uint32, rest []byte) {
	s.t.Helper()
	var length uint32
	if err := binary.Read(s.ch, binary.BigEndian, &length); err != nil || length < 5 || length > 1<<18 {
		s.t.Fatalf("reply of %d bytes: %v", length, err)
	}
	p := make([]byte, length)
	if _, err := io.ReadFull(s.ch, p); err != nil {
		s.t.Fatal(err)
	}
	return p[0], binary.BigEndian.Uint32(p[1:]), p[5:]
}

// TestDoorRelativePaths: a path is decided on as the server will understand it, also when the client names
// it before anybody has asked where relative paths begin, all in one packet.
func TestDoorRelativePaths(t *testing.T) {
	d := newDoor(t)
	home := strings.TrimSpace(homeOfWeb1(t))
	d.write("secrets.cedar", fmt.Sprintf(`permit (principal, action, resource);
forbid (principal, action in [Action::"file:read", Action::"file:write"], resource) when { context has path && context.path like "%[1]s/secret*" };
forbid (principal, action == Action::"file:rename", resource) when { context has target_path && context.target_path like "%[1]s/secret*" };
`, strings.TrimSuffix(home, "/")))
	d.start("policies: [secrets.cedar]\n")
	const read, write = 1, 2 + 8
	s := openSFTP(t, d.as("developer", "web1"))
	s.send(packet(1, 3),
		packet(3, 0x53414c59, "secret.txt", read, 0), // with the id of the gate's own question
		packet(3, 2, "./x/../secret.txt", write, 0),
		packet(3, 3, "../"+filepath.Base(home)+"/secret.txt", read, 0),
		packet(18, 4, "open.txt", "secret.txt"),
		packet(3, 5, strings.TrimPrefix(home, "/")+"/nosuch", read, 0))
	if kind, version, _ := s.next(); kind != 2 || version != 3 {
		t.Fatalf("the first reply is of type %d, version %d", kind, version)
	}
	for range 5 {
		kind, id, rest := s.next()
		want := sftp.PermissionDenied
		if id == 5 {
			want = 2 // SSH_FX_NO_SUCH_FILE: let through, and not there
		}
		if kind != 101 || sftp.Status(binary.BigEndian.Uint32(rest)) != want {
			t.Errorf("request %d is answered by type %d, %q; want status %d", id, kind, rest, want)
		}
	}
	// The client's own questions are answered to it, and to it alone.
	s.send(packet(16, 7, "."), packet(16, 0x53414c59, "."))
	for _, want := range []uint32{7, 0x53414c59} {
		if kind, id, rest := s.next(); kind != 104 || id != want || !strings.Contains(string(rest), home) {
			t.Errorf("REALPATH is answered by type %d, id %x, %q", kind, id, rest)
		}
	}
}

// homeOfWeb1 is where file transfers to web1 begin: another gate is asked.
func homeOfWeb1(t *testing.T) string {
	t.Helper()
	r := do(t, openDoor(t, "").ssh("developer", "web1", "pwd"))
	if r.code != 0 || !strings.HasPrefix(r.out, "/") {
		t.Fatalf("pwd: exit %d: %q %q", r.code, r.out, r.err)
	}
	return r.out
}

// TestDoorFileTools: OpenSSH's own clients, with the gate's question in between.
func TestDoorFileTools(t *testing.T) {
	d := openDoor(t, "policies: [all.cedar]\n", "all.cedar", "permit (principal, action, resource);\n")
	dir := filepath.Dir(d.dir)
	d.write("up", string(must(io.ReadAll(noise(3_000_000)))))
	same := func(what, name string) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != string(must(os.ReadFile(filepath.Join(dir, "up")))) {
			t.Errorf("%s: %v, %d bytes", what, err, len(got))
		}
	}
	if r := do(t, d.tool("scp", "developer", filepath.Join(dir, "up"), "web1:/tmp/door-scp")); r.code != 0 {
		t.Fatalf("scp up: exit %d: %s", r.code, r.err)
	}
	if r := do(t, d.tool("scp", "developer", "web1:/tmp/door-scp", filepath.Join(dir, "down"))); r.code != 0 {
		t.Fatalf("scp down: exit %d: %s", r.code, r.err)
	}
	same("scp", "down")
	c := d.tool("sftp", "developer", "-b", "-", "web1")
	c.Stdin = strings.NewReader(fmt.Sprintf("cd /tmp\nget door-scp %s/got\nrename door-scp door-2\nln -s door-2 door-3\nls\nrm door-2\nrm door-3\n", dir))
	if r := do(t, c); r.code != 0 || !strings.Contains(r.out, "door-3") {
		t.Errorf("sftp: exit %d: %s %s", r.code, r.out, r.err)
	}
	same("sftp", "got")
}
