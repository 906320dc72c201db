package integration

import (
	"bytes"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// notRun are the commands of the documentation that no script runs, each with the reason. A line that runs
// nowhere and stands nowhere here fails the test.
var notRun = map[string]string{
	"make run":                      "setup.sh and go build, and then sallyport dev, which is what every script starts",
	"make test":                     "is running",
	"make bench":                    "takes minutes, and a figure is no verdict",
	"ssh -N -L 16443:k8s:443 gate":  "kube.txtar runs it with a port that is free",
	"ssh -i id login > id-cert.pub": "signin.txtar runs it at its own port, with somebody who signs in",
	"ssh gate delegate --name fixer --target demo --for 10m < bot.pub > bot-cert.pub": "delegate.txtar runs it with files for standard input and output",
	"make lint":                    "is run by whoever changes something; it needs no gate",
	"ssh -N -L 15432:db:5432 gate": "takes a fixed port; the tests of databases do it on a free one",
	"make fuzz":                    "takes as long as one lets it",
	"curl -fsS https://gate.example.org/v1/ca | jq -r '.target_ca[]' > /etc/ssh/sallyport_target_ca.pub": "writes to /etc of a target; TestCAAndLogin reads the same answer",
	"zstd -dc casts/SESSION/*.zst > session.cast":                                                        "zstd is no program of the tests, which read the segments with a library",
}

// TestDocumentedCommandsRun: every shell line of every page occurs in a script, with the same words.
func TestDocumentedCommandsRun(t *testing.T) {
	ran := scriptLines(t)
	used := map[string]bool{}
	for _, page := range pages(t) {
		for _, c := range commandsOf(t, page) {
			if _, ok := notRun[c.text]; ok {
				used[c.text] = true
				continue
			}
			if !ran(c.text) {
				t.Errorf("%s:%d: %q is run by no script in testdata/script; add it to one, or to notRun with the reason", page, c.line, c.text)
			}
		}
	}
	for text := range notRun {
		if !used[text] && !strings.HasPrefix(text, "make ") {
			t.Errorf("notRun has %q, which no page has any more", text)
		}
	}
}

// pages are the tracked pages, relative to the repository's root.
func pages(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("git", "-C", "..", "ls-files", "-z", "*.md").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(names) < 5 {
		t.Fatalf("pages: %q", names)
	}
	return names
}

// A documented is a command in a page.
type documented struct {
	line int
	text string
}

// commandWords begin a command in an indented block, which can also be output or a table.
var commandWords = regexp.MustCompile(`^(sallyport|bin/sallyport|ssh|sftp|scp|ssh-keygen|ssh-add|make|curl|psql|kubectl|systemctl|journalctl|apt-get|sudo|install|useradd|cp|git|zstd|go|kill|pg_dump|mc|printf|export) `)

// ranToTheLetter marks a block that another test takes out of the page and runs.
const ranToTheLetter = "<!-- recipe -->"

// commandsOf finds the commands in a page: after $ in a console block, each line of a sh block, and what
// looks like one in an indented block.
func commandsOf(t *testing.T, page string) []documented {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	var found []documented
	var fence, before string
	recipe := false
	for n, line := range strings.Split(string(text), "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			if fence == "" {
				fence, recipe = "```"+strings.TrimPrefix(trimmed, "```"), before == ranToTheLetter
			} else {
				fence = ""
			}
		case recipe && fence != "":
		case fence == "```console":
			if c, ok := strings.CutPrefix(line, "$ "); ok {
				found = append(found, documented{n + 1, plainCommand(c)})
			}
		case fence == "```sh", fence == "```bash", fence == "```shell":
			if trimmed != "" && !strings.HasPrefix(trimmed, "#") {
				found = append(found, documented{n + 1, plainCommand(trimmed)})
			}
		case fence == "" && strings.HasPrefix(line, "    ") && commandWords.MatchString(trimmed) && !strings.ContainsAny(trimmed, "[]"):
			found = append(found, documented{n + 1, plainCommand(trimmed)})
		}
		if trimmed != "" {
			before = trimmed
		}
	}
	return found
}

var (
	remark     = regexp.MustCompile(`\s+# .*$`)
	devConfig  = regexp.MustCompile(`\.sallyport/(agent|developer|approver)/ssh_config`)
	requestID  = regexp.MustCompile(`\b[0-9][0-9a-z]{7}\b|\b[a-z]+[0-9][0-9a-z]{2,6}\b`)
	place      = regexp.MustCompile(`--(config|dir) \S+`)
	atGate     = regexp.MustCompile(`\b([a-z0-9]+)@gate\b`)
	oneOfMany  = regexp.MustCompile(`^[A-Z][A-Z_]+(\.pem|\.cast|\.yaml)?$`)
	asUser     = regexp.MustCompile(`^ssh -F \$[A-Z]+`) // a page may leave it away, as it is with one's own configuration
	scriptVerb = regexp.MustCompile(`^(! )?(exec |status [0-9]+ |eventually |term [a-z]+ start )(.*?)( &[a-z]+&)?$`)
)

// plainCommand is a documented command without what differs from place to place.
func plainCommand(text string) string {
	text = strings.TrimPrefix(remark.ReplaceAllString(strings.TrimSpace(text), ""), "bin/")
	text = devConfig.ReplaceAllStringFunc(text, func(m string) string {
		return "$" + strings.ToUpper(strings.Split(m, "/")[1])
	})
	text = atGate.ReplaceAllString(text, "$1")
	return place.ReplaceAllString(strings.ReplaceAll(text, "https://id.example.com#ci", "$URL'/oidc#ci'"), "--dir d")
}

// scriptLines tells whether a script runs a command. A word in capitals stands for any word, as does the id
// of a request.
func scriptLines(t *testing.T) func(string) bool {
	t.Helper()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	var lines [][]string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := bytes.Cut(text, []byte("\n-- "))
		for _, line := range strings.Split(string(script), "\n") {
			if m := scriptVerb.FindStringSubmatch(line); m != nil {
				text := place.ReplaceAllString(m[3], "--dir d")
				lines = append(lines, strings.Fields(text), strings.Fields(asUser.ReplaceAllString(text, "ssh")), strings.Fields(strings.Replace(text, " --dir d", "", 1)))
			}
		}
	}
	return func(command string) bool {
		want := strings.Fields(command)
		for _, have := range lines {
			if sameWords(want, have) {
				return true
			}
		}
		return false
	}
}

func sameWords(want, have []string) bool {
	if len(want) != len(have) {
		return false
	}
	for i, w := range want {
		if w == have[i] || oneOfMany.MatchString(w) && !strings.HasPrefix(w, "-") || (have[i] == "$HOLD" || have[i] == "$ADVANCE") && requestID.MatchString(w) {
			continue
		}
		return false
	}
	return true
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// TestLinksPointSomewhere: every relative link of every page leads to a file or folder of the repository,
// and its anchor to a heading.
func TestLinksPointSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: link %q: %v", page, m[1], err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			to := filepath.Join("..", page)
			if u.Path != "" {
				to = filepath.Join("..", filepath.Dir(page), filepath.FromSlash(u.Path))
			}
			if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %s is not there", page, m[1])
			} else if u.Fragment != "" && !hasAnchor(t, to, u.Fragment) {
				t.Errorf("%s: %s has no such heading", page, m[1])
			}
		}
	}
}

func hasAnchor(t *testing.T, file, anchor string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		if slug(m[1]) == anchor {
			return true
		}
	}
	return false
}

// slug is the anchor that a heading gets where Markdown is shown.
func slug(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}
