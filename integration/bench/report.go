package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// A report is what is printed.
type report struct {
	Date        time.Time `json:"date"`
	Go          string    `json:"go"`
	CPUs        int       `json:"cpus"`
	Rounds      int       `json:"rounds"`
	KeyExchange string    `json:"key_exchange"` // AES-128-GCM and ed25519 besides
	Took        float64   `json:"took_seconds"`
	Tables      []*table  `json:"tables"`
	Faults      []fault   `json:"faults,omitempty"`
}

// A table is about one thing.
type table struct {
	Title string    `json:"title"`
	Notes []string  `json:"notes,omitempty"`
	Heads [4]string `json:"-"` // of the columns; empty: threeServers
	Rows  []row     `json:"rows"`
}

// threeServers are the columns of most tables.
var threeServers = [4]string{"gate", "plain Go", "OpenSSH"}

// A row compares one number. Values are of the gate, plain Go and OpenSSH; 0 is one that was not measured.
type row struct {
	What  string     `json:"what"`
	Unit  string     `json:"unit"`
	More  bool       `json:"more_is_better"`
	Value [3]float64 `json:"-"`
	Aim   aim        `json:"-"`
	// Fourth is a value beside them, in tables that have a head for it.
	Fourth float64   `json:"-"`
	heads  [4]string // of its table
}

// An aim is what the design wants of a row. It is said, and never a reason to fail.
type aim struct {
	text string
	met  func(r row) bool
}

// within2 is the aim of what is not for transfers.
var within2 = aim{"within 2x of plain Go", func(r row) bool {
	if r.More {
		return 2*r.Value[0] >= r.Value[1]
	}
	return r.Value[0] <= 2*r.Value[1]
}}

func (r *report) table(title string, notes ...string) *table {
	t := &table{Title: title, Notes: notes}
	r.Tables = append(r.Tables, t)
	return t
}

func (t *table) add(r row) {
	if r.heads = t.Heads; t.Heads == [4]string{} {
		r.heads = threeServers
	}
	t.Rows = append(t.Rows, r)
}

// ratios are the gate's value over the others', 0 where there is none.
func (r row) ratios() (plain, openssh float64) {
	over := func(v float64) float64 {
		if v == 0 || r.Value[0] == 0 {
			return 0
		}
		return r.Value[0] / v
	}
	return over(r.Value[1]), over(r.Value[2])
}

// aimed is what the design wants, and whether that is so.
func (r row) aimed() string {
	if r.Aim.met == nil {
		return ""
	}
	if r.Aim.met(r) {
		return r.Aim.text + ": yes"
	}
	return r.Aim.text + ": NO"
}

// jsonNames are what columns are called in JSON.
var jsonNames = strings.NewReplacer("plain Go", "plain", "ssh -L", "tunnel")

// MarshalJSON gives every number a name.
func (r row) MarshalJSON() ([]byte, error) {
	m := map[string]any{"what": r.What, "unit": r.Unit, "more_is_better": r.More}
	plain, openssh := r.ratios()
	values, ratios := [4]float64{r.Value[0], r.Value[1], r.Value[2], r.Fourth}, [4]float64{0, plain, openssh, 0}
	for i, head := range r.heads {
		name := strings.ToLower(jsonNames.Replace(head))
		if values[i] != 0 {
			m[name] = values[i]
		}
		if ratios[i] != 0 {
			m["gate_over_"+name] = ratios[i]
		}
	}
	if r.Aim.met != nil {
		m["aim"], m["met"] = r.Aim.text, r.Aim.met(r)
	}
	return json.Marshal(m)
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// line is how a table is laid out.
const line = "  %-32s %-8s %9s %9s %9s %s%8s %8s  %s\n"

func (r *report) writeText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nSallyport beside a plain x/crypto/ssh server and OpenSSH's sshd: %s, %s, %d CPUs.\n", r.Date.Format(time.DateTime), r.Go, r.CPUs)
	fmt.Fprintf(&b, "One Go client for all, on the loopback interface; %s, AES-128-GCM, ed25519; %d rounds in turns; %.0f s.\n", r.KeyExchange, r.Rounds, r.Took)
	fmt.Fprintf(&b, "Ratios are the gate over the other. + more is better, - less is better.\n")
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "\n%s\n", t.Title)
		for _, n := range t.Notes {
			fmt.Fprintf(&b, "  (%s)\n", n)
		}
		t.write(&b)
	}
	r.writeFaults(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) write(b *strings.Builder) {
	if len(t.Rows) == 0 {
		b.WriteString("  could not be measured\n")
		return
	}
	h := t.Rows[0].heads
	fourth := func(text string) string {
		if h[3] == "" {
			return ""
		}
		return fmt.Sprintf("%9s ", text)
	}
	fmt.Fprintf(b, line, "", "", h[0], h[1], h[2], fourth(h[3]), "/"+strings.TrimSuffix(h[1], " Go"), "/"+h[2], "aim")
	for _, r := range t.Rows {
		better := "-"
		if r.More {
			better = "+"
		}
		plain, openssh := r.ratios()
		text := fmt.Sprintf(line, r.What, r.Unit+" "+better, number(r.Value[0]), number(r.Value[1]), number(r.Value[2]),
			fourth(number(r.Fourth)), times(plain), times(openssh), r.aimed())
		b.WriteString(strings.TrimRight(text, " \n") + "\n")
	}
}

// number has three digits that matter, or all before the point.
func number(v float64) string {
	if v == 0 {
		return "-"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return fmt.Sprintf("%.*f", min(digits, 4), v)
}

func times(v float64) string {
	if v == 0 {
		return "-"
	}
	return number(v) + "x"
}
