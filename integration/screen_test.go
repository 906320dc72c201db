package integration

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	vt "github.com/sallyport-ssh/sallyport/filters/term"
)

// screenPolicy lets the developer run what draws: what is shown is masked all the same.
const screenPolicy = `permit (principal, action in [Action::"session:open", Action::"command:run", Action::"recording:view", Action::"recording:list", Action::"session:list"], resource);`

// A devGate is a `sallyport dev` that serves several tests.
type devGate struct {
	dir, user string // its directory, the developer's ssh_config
	log       *lockedBuffer
}

func startDev(t *testing.T, policy string) *devGate {
	t.Helper()
	g := &devGate{dir: filepath.Join(t.TempDir(), "d"), log: new(lockedBuffer)}
	g.user = filepath.Join(g.dir, "developer/ssh_config")
	own := filepath.Join(t.TempDir(), "own")
	for name, text := range map[string]string{own + "/own.cedar": policy, own + ".yaml": "policies: [own]\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(bin, "sallyport"), "dev", "--dir", g.dir, "--ssh", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config", own+".yaml")
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	cmd.Stdout, cmd.Stderr = g.log, g.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // received below
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case err := <-exited:
			if err != nil {
				t.Errorf("dev: %v\n%s", err, g.log)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("dev still runs 30 seconds after SIGINT\n%s", g.log)
			_ = cmd.Process.Kill()
			<-exited
		}
	})
	until(t, "dev is ready", func() string {
		if readyLine.MatchString(g.log.String()) {
			return ""
		}
		return "it says: " + g.log.String()
	})
	return g
}

// until polls for a condition of another process, for at most 30 seconds; not is what is still wrong.
func until(t *testing.T, what string, not func() string) {
	t.Helper()
	var last string
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(15 * time.Millisecond) {
		if last = not(); last == "" {
			return
		}
	}
	t.Fatalf("waited 30 seconds until %s:\n%s", what, last)
}

// A viewer is a person who looks at a terminal in which ssh runs.
type viewer struct {
	t      *testing.T
	pty    *os.File
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	screen *vt.Screen
	raw    []byte // all that came
}

// view starts ssh, at a terminal in which above rows are filled already.
func (g *devGate) view(t *testing.T, cols, rows, above int, args ...string) *viewer {
	t.Helper()
	v := &viewer{t: t, screen: vt.New(cols, rows), exited: make(chan struct{})}
	v.cmd = exec.Command("ssh", append([]string{"-F", g.user, "-tt"}, args...)...)
	v.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LANG=C.UTF-8")
	for range above {
		v.screen.Write([]byte("what was there before\r\n"))
	}
	f, err := pty.StartWithSize(v.cmd, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)})
	if err != nil {
		t.Fatal(err)
	}
	v.pty = f
	go func() { // ends with ssh
		defer close(v.exited)
		r, buf := bufio.NewReader(f), make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			v.mu.Lock()
			v.screen.Write(buf[:n])
			v.raw = append(v.raw, buf[:n]...)
			v.mu.Unlock()
			if err != nil {
				break
			}
		}
		_ = v.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = v.cmd.Process.Kill()
		<-v.exited
		f.Close()
	})
	return v
}

// text is the screen, a row a line.
func (v *viewer) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, rows := v.screen.Size()
	var b strings.Builder
	for y := range rows {
		b.WriteString(v.screen.Text(y) + "\n")
	}
	return b.String()
}

func (v *viewer) send(keys string) {
	v.t.Helper()
	if _, err := v.pty.WriteString(keys); err != nil {
		v.t.Fatal(err)
	}
}

func (v *viewer) resize(cols, rows int) {
	v.t.Helper()
	v.mu.Lock()
	v.screen.Resize(cols, rows)
	v.mu.Unlock()
	if err := pty.Setsize(v.pty, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)}); err != nil {
		v.t.Fatal(err)
	}
}

// masked waits until all of want is on the screen and none of the secrets is.
func (v *viewer) masked(secrets []string, want ...string) {
	v.t.Helper()
	until(v.t, fmt.Sprintf("%q is shown, masked", want), func() string {
		text := v.text()
		for _, w := range want {
			if !strings.Contains(text, w) {
				return "there is no " + w + " in:\n" + text
			}
		}
		joined := strings.ReplaceAll(text, "\n", "")
		for _, s := range secrets {
			if strings.Contains(joined, s) {
				return s + " is in clear in:\n" + text
			}
		}
		return ""
	})
}

// end waits until ssh has ended.
func (v *viewer) end() {
	v.t.Helper()
	select {
	case <-v.exited:
	case <-time.After(30 * time.Second):
		v.t.Fatalf("ssh still runs, after:\n%s", v.text())
	}
}

// customers are the values in the demo's customers.csv that must not be seen.
func (g *devGate) customers(t *testing.T) (all []string, rows [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, "demo/customers.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err = csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows[1:] {
		all = append(all, r[2:7]...) // e-mail, phone, card, IBAN, SSN
	}
	return all, rows[1:]
}

// recorded returns the newest recording: what was shown in it, and the file.
func (g *devGate) recorded(t *testing.T) (shown, file string) {
	t.Helper()
	run := func(args ...string) []byte {
		out, err := exec.Command(filepath.Join(bin, "sallyport"), append(args, "--dir", g.dir)...).Output()
		if err != nil {
			return nil
		}
		return out
	}
	until(t, "the session is recorded", func() string {
		var sessions []struct{ ID, State string }
		if out := run("sessions", "ls", "--json"); json.Unmarshal(out, &sessions) != nil || len(sessions) == 0 {
			return fmt.Sprintf("sessions ls says %q", out)
		}
		if s := sessions[0]; s.State != "complete" {
			return fmt.Sprintf("session %s is %s", s.ID, s.State)
		}
		file = string(run("export", sessions[0].ID, "--format", "v3"))
		if file == "" {
			return "it cannot be exported"
		}
		return ""
	})
	var b strings.Builder
	for line := range strings.Lines(file) {
		var event []any
		if json.Unmarshal([]byte(line), &event) == nil && len(event) == 3 && event[1] == "o" {
			b.WriteString(event[2].(string))
		}
	}
	return b.String(), file
}

// sameRecorded checks that the record of what v saw has every byte as it was shown.
func (g *devGate) sameRecorded(v *viewer) string {
	v.t.Helper()
	shown, file := g.recorded(v.t)
	if !strings.HasPrefix(string(v.raw), shown) || len(shown) == 0 {
		v.t.Errorf("the recording is not what was shown: %d and %d bytes", len(shown), len(v.raw))
	}
	return file
}

// drawn are programs that draw a value in pieces, which no stream could see; %s is the value, in two pieces.
var drawn = []struct{ name, program string }{
	{"cursor addressing", `printf '\033[5;9H%[2]s\033[5;1H%[1]s\033[8;1Hdone'; read x`},
	{"overwriting a line", `printf 'xxxxxxxx%[2]s\r%[1]s\n\ndone'; read x`},
	{"moving back", `printf '%[1]sxxxxxxxx\b\b\b\b\b\b\b\b%[2]s done'; read x`},
	{"erasing", `printf '%[1]sz%[2]s\033[9G\033[1P\n\ndone'; read x`},
	{"inserting", `printf '%[2]s\r\033[8@%[1]s\n\ndone'; read x`},
	{"a piece now and then", `printf '\033[1G%[1]s\033[K'; sleep 0.3; printf '\033[9G%[2]s '; sleep 0.3; printf 'done'; read x`},
	{"the alternate screen", `printf '\033[?1049h\033[3;11H%[2]s\033[3;3H%[1]s\033[8;1Hdone'; read x; printf '\033[?1049l'`},
	{"a region that scrolls", `printf '\033[2;6r\033[6;1H\n\033[5;9H%[2]s\033[5;1H%[1]s\033[8;1Hdone'; read x; printf '\033[r'`},
	{"origin mode", `printf '\033[4;9r\033[?6h\033[2;9H%[2]s\033[2;1H%[1]s\033[5;1Hdone'; read x; printf '\033[?6l\033[r'`},
	{"insert mode", `printf '%[2]s\r\033[4h%[1]s\033[4l\n\ndone'; read x`},
	{"colours", `printf '\033[5;9H\033[1;31m%[2]s\033[5;1H\033[7m%[1]s\033[m\033[8;1Hdone'; read x`},
	{"across the right margin", `printf '\033[6;1H%[2]s y\033[5;73H%[1]s\033[8;1Hdone'; read x`},
	{"a counter that goes on", `printf '\033[5;9H%[2]s\033[5;1H%[1]s\033[8;1Hdone'; for i in $(seq 200); do printf '\033[10;1H%%d' $i; sleep 0.01; done; read x`},
}

// TestWhatIsDrawnInPiecesIsMasked: whatever way a value gets onto the screen, and wherever on it the session began, the
// person sees it masked a moment later, the cursor is where the program left it, and the record has the same.
func TestWhatIsDrawnInPiecesIsMasked(t *testing.T) {
	g := startDev(t, screenPolicy)
	_, rows := g.customers(t)
	for i, tt := range drawn {
		t.Run(tt.name, func(t *testing.T) {
			card := rows[i][4]
			if len(card) != 16 {
				card = "4111118782904989"
			}
			v := g.view(t, 80, 24, []int{0, 3, 30}[i%3], "demo", fmt.Sprintf("stty -echo; "+tt.program, card[:8], card[8:]))
			v.masked([]string{card, card[6:]}, "done", card[:6]+"**")
			v.mu.Lock()
			x, _, _ := v.screen.Cursor()
			v.mu.Unlock()
			if row := lineWith(v.text(), "done"); i != len(drawn)-1 && x != strings.Index(row, "done")+4 {
				t.Errorf("the cursor is in column %d of %q", x, row)
			}
			v.send("\r")
			v.end()
			file := g.sameRecorded(v)
			if !strings.Contains(file, `"repainted":1`) || !strings.Contains(file, `"card":1`) || !strings.Contains(file, "masked on the screen: card") {
				t.Errorf("the record does not say that it was repainted:\n%s", file)
			}
		})
	}
}

func lineWith(text, what string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			return line
		}
	}
	return ""
}

// TestProgramsOnAScreen: programs that draw whole screens show no value in clear, whatever is done in them.
func TestProgramsOnAScreen(t *testing.T) {
	g := startDev(t, screenPolicy)
	secrets, rows := g.customers(t)
	first, last := rows[0], rows[len(rows)-1]
	for _, tt := range []struct {
		name, program string
		use           func(v *viewer)
	}{
		{"less", "TERM=xterm less customers.csv", func(v *viewer) {
			v.masked(secrets, first[1])
			v.send("G")
			v.masked(secrets, last[1])
			v.send("1G/" + rows[20][1] + "\r")
			v.masked(secrets, rows[20][1])
			v.send("kkkkjjjj\x0c")
			v.masked(secrets, rows[21][1])
			v.send("q")
		}},
		{"vim", "vim -u NONE -N -i NONE customers.csv", func(v *viewer) {
			v.masked(secrets, first[1])
			v.send("G")
			v.masked(secrets, last[1])
			v.send(":set hlsearch nowrap\r/" + rows[30][1] + "\r")
			v.masked(secrets, rows[30][1])
			v.send(":set wrap\rgg:vsplit\r")
			v.masked(nil, first[1])
			v.send(":only\r:5\ryyPxxu:%s/,/ , /g\r")
			v.masked(secrets, rows[3][1])
			v.send("Onew " + rows[3][4][:8])
			v.send(rows[3][4][8:] + " text\x1b")
			v.masked(secrets, "text")
			v.send(":q!\r")
		}},
		{"watch", "TERM=xterm watch -n 1 -t 'date +%N; head -8 customers.csv'", func(v *viewer) {
			v.masked(secrets, first[1])
			seen := lineWith(v.text(), "")
			until(t, "watch has drawn again", func() string {
				if text := lineWith(v.text(), ""); text == seen {
					return text
				}
				return ""
			})
			v.masked(secrets, first[1])
			v.send("\x03")
		}},
		{"tmux", "tmux -f /dev/null new-session 'head -12 customers.csv; read x'", func(v *viewer) {
			v.masked(secrets, first[1], "[0]")
			v.send("\x02")
			v.send("\"")
			v.masked(secrets, rows[9][1], "─────")
			v.send("tail -5 customers.csv\r")
			v.masked(secrets, last[1])
			v.resize(100, 30)
			v.masked(secrets, rows[9][1], last[1])
			v.send("tmux resize-pane -Z\r") // typed in one go, keys would be taken for a paste
			v.masked(secrets, last[1], "bash*Z")
			v.send("tmux resize-pane -Z; tmux select-layout even-horizontal\r")
			v.masked(nil, "│")
			v.send("clear; cut -d, -f5 customers.csv | tail -3\r")
			v.masked(columnsOf(rows[len(rows)-3:], 4), last[4][:6]+"***")
			v.send("clear; printf '%044d %s' 0 " + last[4][:4] + "; printf '%s|\\n' " + last[4][4:] + "\r") // wraps in its pane
			v.masked([]string{last[4][4:]}, "**|")
			v.send("tmux kill-server\r")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := g.view(t, 120, 24, 5, "demo", tt.program)
			tt.use(v)
			v.end()
			g.sameRecorded(v)
		})
	}
}

func columnsOf(rows [][]string, k int) (out []string) {
	for _, r := range rows {
		out = append(out, r[k])
	}
	return out
}

// TestATypedLineIsUntouched: a person at a prompt edits a line that wraps, goes back and forth in it, and gets what was
// typed.
func TestATypedLineIsUntouched(t *testing.T) {
	g := startDev(t, screenPolicy)
	v := g.view(t, 60, 10, 4, "demo")
	v.masked(nil, "demo@demo:~$")
	words := "one two three four five six seven eight nine ten eleven twelve thirteen"
	v.send("echo " + words)
	v.masked(nil, "twelve")
	v.send("\x01\x1b[C\x1b[C\x1b[C\x1b[C\x1b[CX\x05Y\r")
	until(t, "the line is printed", func() string {
		text := strings.ReplaceAll(v.text(), "\n", "")
		if strings.Count(text, "X"+words+"Y") < 2 {
			return strconv.Quote(text)
		}
		return ""
	})
	v.send("exit\r")
	v.end()
	g.sameRecorded(v)
}
