package sftp_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-ssh/sallyport/filters/sftp"
)

var update = flag.Bool("update", false, "record the exchange of testdata again")

const (
	serverPath = "/usr/lib/openssh/sftp-server"
	relayEnv   = "SFTP_TEST_RELAY" // folder for what the relay saw; makes this binary a relay
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(relayEnv); dir != "" {
		if err := runRelay(dir); err != nil {
			fmt.Fprintln(os.Stderr, "relay:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// relay stands between the real client and the real server, as package sftp's documentation says, and
// refuses everything that needs to write or remove a name with "secret" in it.
type relay struct {
	tracker *sftp.Tracker
	server  io.WriteCloser

	mu     sync.Mutex
	client io.Writer
	seen   []string // operations and their paths; answers of the relay; closed files
}

func runRelay(dir string) error {
	cmd := exec.Command(serverPath, "-e")
	cmd.Stderr = os.Stderr
	toServer, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	fromServer, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r := &relay{tracker: sftp.NewTracker(sftp.Limits{}), server: toServer, client: os.Stdout}
	var fromClient bytes.Buffer
	var fromServerSeen bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- each(io.TeeReader(fromServer, &fromServerSeen), r.reply) }()
	err = each(io.TeeReader(os.Stdin, &fromClient), r.request)
	toServer.Close()
	if e := <-done; err == nil {
		err = e
	}
	if e := cmd.Wait(); err == nil {
		err = e
	}
	for _, f := range r.tracker.End() {
		r.note("left open %s", f.Path)
	}
	seen, _ := json.Marshal(r.seen)
	for name, data := range map[string][]byte{"seen": seen, "client": fromClient.Bytes(), "server": fromServerSeen.Bytes()} {
		if e := os.WriteFile(filepath.Join(dir, name), data, 0o600); err == nil {
			err = e
		}
	}
	return err
}

// each gives every packet of a stream to f.
func each(from io.Reader, f func(sftp.Packet) error) error {
	var s sftp.Splitter
	buf := make([]byte, 1000) // an odd size, so that packets are cut in many ways
	for {
		n, err := from.Read(buf)
		packet, rest, splitErr := s.Next(buf[:n])
		for ; packet != nil; packet, rest, splitErr = s.Next(rest) {
			if err := f(packet); err != nil {
				return err
			}
		}
		if splitErr != nil {
			return splitErr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *relay) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprintf(format, args...))
}

func (r *relay) request(p sftp.Packet) error {
	req, err := sftp.Parse(p)
	if err == nil {
		err = r.tracker.Resolve(&req)
	}
	if err != nil {
		return r.answer(req.ID, sftp.StatusFor(err), err.Error())
	}
	if req.Op != sftp.Read && req.Op != sftp.Write && req.Op != sftp.Stat {
		r.note("%s %s%s", req.Op, req.Path, req.NewPath)
	}
	for _, n := range req.Needs() {
		if n.Class == sftp.Refused {
			return r.answer(req.ID, sftp.OpUnsupported, "not supported")
		}
		if n.Class != sftp.Looks && strings.Contains(n.Path, "secret") {
			r.note("refused %s %s", n.Class, n.Path)
			return r.answer(req.ID, sftp.PermissionDenied, "refused by policy")
		}
	}
	if err := r.tracker.Sent(&req); err != nil {
		return err
	}
	_, err = r.server.Write(req.Relay(p))
	return err
}

func (r *relay) answer(id uint32, code sftp.Status, message string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.client.Write(sftp.AppendStatus(nil, id, code, message))
	return err
}

func (r *relay) reply(p sftp.Packet) error {
	rep, err := sftp.ParseReply(p)
	if err != nil {
		return err
	}
	f, err := r.tracker.Received(&rep)
	if err != nil {
		return err
	}
	if f != nil && !f.Dir {
		r.note("closed %s read %d %.4x %v written %d %.4x", f.Path, f.Read.Bytes, f.Read.SHA256, f.Read.EOF, f.Written.Bytes, f.Written.SHA256)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err = r.client.Write(rep.Relay(p))
	return err
}

// converse runs the real client with commands, through the relay, on the real server in dir.
func converse(t *testing.T, dir, commands string) (seen []string, out, wires string) {
	t.Helper()
	for _, program := range []string{"sftp", serverPath} {
		if _, err := exec.LookPath(program); err != nil {
			if testing.Short() {
				t.Skip(err)
			}
			t.Fatalf("%v: run make test, or apt-get install openssh-client openssh-sftp-server", err)
		}
	}
	wires = t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sftp", "-D", self)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), relayEnv+"="+wires)
	cmd.Stdin = strings.NewReader(commands)
	text, err := cmd.CombinedOutput()
	t.Logf("%s", text)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(wires, "seen"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &seen); err != nil {
		t.Fatal(err)
	}
	for i := range seen {
		seen[i] = strings.ReplaceAll(seen[i], dir, "~")
	}
	return seen, string(text), wires
}

// TestOpenSSH lets the real client do all it can through the relay.
func TestOpenSSH(t *testing.T) {
	dir := t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcde\n"), 100_000) // 1.6 MB: many requests under way at once
	for name, data := range map[string][]byte{"big": big, "empty": nil, "secret": []byte("s3cret")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen, out, _ := converse(t, dir, `put big up
get up down
put empty none
get none none2
get secret stolen
put big secret
rm secret
rename secret taken
chmod 644 secret
ln secret hard
ln -s secret soft
ln up link
symlink up slink
chmod 600 up
rename up moved
mkdir d
ls -l d
rmdir d
cp moved copied
df
rm moved
`)
	whole := fmt.Sprintf("%.4x", sha256.Sum256(big))
	nothing := fmt.Sprintf("%.4x", sha256.Sum256(nil))
	for _, want := range []string{
		"open-write ~/up", "closed ~/up read 0  false written 1600000 " + whole,
		"open-read ~/up", "closed ~/up read 1600000 " + whole + " true written 0 ",
		"closed ~/none read 0 " + nothing + " true written 0 ",
		"refused read ~/secret", "refused write ~/secret", "refused remove ~/secret", "refused rename ~/secret", "refused attributes ~/secret",
		"hardlink ~/link", "symlink ~/slink", "setstat ~/up", "rename ~/up~/moved", "mkdir ~/d", "opendir ~/d/", "closed ~/none read 0  false written 0 " + nothing, "rmdir ~/d",
		"copy-data ~/moved", "statvfs ~", "remove ~/moved",
	} {
		if !slices.Contains(seen, want) {
			t.Errorf("not seen: %s", want)
		}
	}
	if n := strings.Count(strings.Join(seen, "\n"), "refused "); n != 7 {
		t.Errorf("refused %d times", n)
	}
	if t.Failed() {
		t.Logf("seen:\n%s", strings.Join(seen, "\n"))
	}
	if n := strings.Count(out, "ermission denied"); n != 7 {
		t.Errorf("the client was told %d times", n)
	}
	for name, want := range map[string]string{"down": string(big), "secret": "s3cret", "copied": string(big), "none2": ""} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s has %d bytes, want %d, %v", name, len(got), len(want), err)
		}
	}
	for _, name := range []string{"stolen", "hard", "soft", "taken", "moved", "d"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	if *update {
		record(t, dir)
	}
}

// record keeps a short exchange for those who have no OpenSSH, and as seeds for fuzzing.
func record(t *testing.T, dir string) {
	_, _, wires := converse(t, dir, "put empty up\nls -l\nget secret x\nrename up moved\nrm moved\n")
	for _, side := range []string{"client", "server"} {
		data, err := os.ReadFile(filepath.Join(wires, side))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/"+side, bytes.ReplaceAll(data, []byte(dir), home(dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// home is a path as long as dir, which names no machine.
func home(dir string) []byte {
	return []byte("/home/" + strings.Repeat("u", len(dir)-len("/home/")))
}

// recorded returns both sides of the recorded exchange.
func recorded(t testing.TB) [][]byte {
	t.Helper()
	var streams [][]byte
	for _, side := range []string{"client", "server"} {
		data, err := os.ReadFile("testdata/" + side)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, data)
	}
	return streams
}

// TestRecorded reads the recorded exchange.
func TestRecorded(t *testing.T) {
	streams := recorded(t)
	client, pending, err := cut(streams[0], 7, 100, 1)
	if err != nil || pending != 0 {
		t.Fatal(pending, err)
	}
	var got []string
	for _, p := range client {
		r, err := sftp.Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, r.Op.String()); r.Op == sftp.Unknown {
			t.Errorf("unknown: %x", p)
		}
	}
	want := strings.Fields(`init info realpath stat open-write close opendir readdir readdir close info
		stat stat open-read rename stat remove`)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("operations (-want +got):\n%s", d)
	}
	server, pending, err := cut(streams[1], 7, 100, 1)
	if err != nil || pending != 0 {
		t.Fatal(pending, err)
	}
	for _, p := range server {
		if _, err := sftp.ParseReply(p); err != nil {
			t.Errorf("%x: %v", p, err)
		}
	}
}
