package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A corpus is clean text of this machine. Kinds of values that it truly holds, such as the addresses of authors, are
// true finds and named.
type localCorpus struct {
	name  string
	text  []byte
	truly []string
}

const corpusMax = 8 << 20

// files joins the files under root whose names match.
func files(root string, match func(name string) bool) []byte {
	var b bytes.Buffer
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || b.Len() > corpusMax {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && match(path) {
			text, _ := os.ReadFile(path)
			b.Write(text)
		}
		return nil
	})
	return b.Bytes()
}

func output(name string, args ...string) []byte {
	out, _ := exec.Command(name, args...).Output()
	return out[:min(len(out), corpusMax)]
}

// localCorpora are those that this machine has.
func localCorpora() []localCorpus {
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	blob := make([]byte, 2<<20)
	for i := range blob {
		blob[i] = byte(r.Uint32())
	}
	var uuids, ids, times bytes.Buffer
	for i := range 20000 {
		h := hex.EncodeToString(blob[i*16 : i*16+16])
		fmt.Fprintf(&uuids, "%s-%s-4%s-a%s-%s\n", h[:8], h[8:12], h[13:16], h[17:20], h[20:])
		fmt.Fprintf(&ids, "%8d | %12d | %d | %x\n", i, 100000000000+r.Int64N(1e11), 1000000000000000000+r.Int64N(1e17), blob[i*4:i*4+4])
		fmt.Fprintf(&times, "%s\n", stampText(r))
	}
	goroot := strings.TrimSpace(string(output("go", "env", "GOROOT")))
	ext := func(e string) func(string) bool { return func(n string) bool { return strings.HasSuffix(n, e) } }
	cs := []localCorpus{
		{"Go source", files(filepath.Join(goroot, "src"), func(n string) bool { return strings.HasSuffix(n, ".go") && !strings.HasSuffix(n, "_test.go") }), []string{"email", "url-password"}},
		{"/usr/include", files("/usr/include", ext(".h")), []string{"email"}},
		{"dpkg logs and lists", append(files("/var/log", func(n string) bool { return strings.Contains(n, "dpkg") || strings.Contains(n, "apt") }), files("/var/lib/dpkg/info", ext(".list"))...), []string{"email"}},
		{"Python source", files("/usr/lib/python3", func(n string) bool {
			return strings.HasSuffix(n, ".py") && !strings.Contains(n, "test") && !strings.Contains(n, "oauth")
		}), []string{"email", "url-password"}},
		{"Perl source", files("/usr/share/perl", func(n string) bool { return strings.HasSuffix(n, ".pm") || strings.HasSuffix(n, ".pl") }), []string{"email", "url-password"}},
		{"JavaScript", files("/usr", ext(".js")), []string{"email", "url-password"}},
		{"JSON", files("/usr", ext(".json")), []string{"email", "url-password"}},
		{"YAML and XML", files("/usr/share", func(n string) bool {
			return strings.HasSuffix(n, ".yaml") || strings.HasSuffix(n, ".yml") || strings.HasSuffix(n, ".xml")
		}), []string{"email", "url-password"}},
		{"shell scripts", files("/usr/bin", isScript), []string{"email", "url-password"}},
		{"/etc", files("/etc", func(n string) bool {
			return !secretsIn.MatchString(n)
		}), []string{"email", "url-password"}},
		{"package list", output("dpkg", "-l"), []string{"email"}},
		{"package status", files("/var/lib/dpkg", func(n string) bool { return strings.HasSuffix(n, "/status") }), []string{"email"}},
		{"ps aux", output("ps", "aux"), nil},
		{"md5sums", files("/var/lib/dpkg/info", ext(".md5sums")), nil},
		{"git log", output("git", "log", "--stat"), []string{"email"}},
		{"git log -p", output("git", "log", "-p", "-n", "20", "--", ":(top)*.go", ":(top,exclude)filters/mask", ":(top,exclude)*_test.go"), []string{"email", "url-password"}},
		{"ls -lR", output("ls", "-lR", "/usr/lib", "/usr/share/doc"), nil},
		{"hexdump", []byte(hex.Dump(blob[:1<<20])), nil},
		{"base64", []byte(base64.StdEncoding.EncodeToString(blob)), nil},
		{"base64 lines", wrapLines(base64.StdEncoding.EncodeToString(blob), 76), nil},
		{"hex", []byte(hex.EncodeToString(blob)), nil},
		{"uuids", uuids.Bytes(), nil}, {"table of ids", ids.Bytes(), nil}, {"timestamps", times.Bytes(), nil},
		{"random bytes", blob, nil},
	}
	if man, err := filepath.Glob("/usr/share/man/man1/*"); err == nil && len(man) > 0 {
		cs = append(cs, localCorpus{"man pages", output("sh", "-c", "zcat /usr/share/man/man[1-8]/*.gz 2>/dev/null | head -c 8000000"), []string{"email", "url-password"}})
	}
	return slices.DeleteFunc(cs, func(c localCorpus) bool { return len(c.text) < 1000 })
}

// secretsIn are files of /etc that do hold secrets: hashes, keys, and Chromium's API keys; and templates of them.
var secretsIn = regexp.MustCompile(`shadow|ssl|ssh|chromium|maven`)

// isScript says whether the file name starts with #!.
func isScript(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [2]byte
	n, _ := f.Read(head[:])
	return n == 2 && string(head[:]) == "#!"
}

func stampText(r *rand.Rand) string {
	return fmt.Sprintf("2026-%02d-%02dT%02d:%02d:%02d.%09dZ [%6d.%06d] 1.%d.%d-rc%d %d", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60),
		r.IntN(1e9), r.IntN(1e6), r.IntN(1e6), r.IntN(100), r.IntN(100), r.IntN(9), 1700000000000+r.Int64N(1e11))
}

func wrapLines(s string, n int) []byte {
	var b bytes.Buffer
	for ; len(s) > n; s = s[n:] {
		b.WriteString(s[:n] + "\n")
	}
	b.WriteString(s + "\n")
	return b.Bytes()
}

// maxFalse is how many false finds a megabyte of any corpus may have, of which another machine has other files: here
// there are 1.5 at most. Fewer than minFalse are no verdict on a small corpus.
const (
	maxFalse = 10.0
	minFalse = 5
)

// TestPrecision counts what is found in this machine's own files that hold no secrets, and logs it by corpus.
func TestPrecision(t *testing.T) {
	e := engine(t, Config{})
	for _, c := range localCorpora() {
		found := map[string]int{}
		var lines []string
		s := e.Stream(StreamOptions{OnHit: func(h Hit) {
			if slices.Contains(c.truly, h.Detector) {
				return
			}
			found[h.Detector]++
			if len(lines) < 12 && h.Offset >= 0 {
				from, to := max(0, int(h.Offset)-30), min(len(c.text), int(h.Offset)+h.Length+10)
				lines = append(lines, fmt.Sprintf("%s %q", h.Detector, c.text[from:to]))
			}
		}})
		out := s.Close(s.Append(nil, c.text))
		n := 0
		for _, k := range found {
			n += k
		}
		mb := float64(len(c.text)) / 1e6
		t.Logf("%-20s %6.2f MB %6d false, %.2f per MB %v", c.name, mb, n, float64(n)/mb, found)
		if testing.Verbose() && n > 0 {
			t.Logf("%s", strings.Join(lines, "\n"))
		}
		if float64(n)/mb > maxFalse && n > minFalse {
			t.Errorf("%s: %.1f false finds per MB:\n%s", c.name, float64(n)/mb, strings.Join(lines, "\n"))
		}
		if n == 0 && len(c.truly) == 0 && !bytes.Equal(out, c.text) {
			t.Errorf("%s: nothing found, but the text has changed", c.name)
		}
	}
}
