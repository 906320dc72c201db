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
	Title string   `json:"title"`
	Notes []string `json:"notes,omitempty"`
	Rows  []row    `json:"rows"`
}

// A row compares one number. Values are of the gate, plain Go and OpenSSH; 0 is one that was not measured.
type row struct {
	What  string     `json:"what"`
	Unit  string     `json:"unit"`
	More  bool       `json:"more_is_better"`
	Value [3]float64 `json:"-"`
	Aim   aim        `json:"-"`
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

func (t *table) add(r row) { t.Rows = append(t.Rows, r) }

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

// MarshalJSON gives every number a name.
func (r row) MarshalJSON() ([]byte, error) {
	type named struct {
		row2                // the tags of row
		Gate        float64 `json:"gate,omitempty"`
		Plain       float64 `json:"plain,omitempty"`
		OpenSSH     float64 `json:"openssh,omitempty"`
		OverPlain   float64 `json:"gate_over_plain,omitempty"`
		OverOpenSSH float64 `json:"gate_over_openssh,omitempty"`
		Aim         string  `json:"aim,omitempty"`
		Met         *bool   `json:"met,omitempty"`
	}
	n := named{row2: row2(r), Gate: r.Value[0], Plain: r.Value[1], OpenSSH: r.Value[2], Aim: r.Aim.text}
	n.OverPlain, n.OverOpenSSH = r.ratios()
	if r.Aim.met != nil {
		met := r.Aim.met(r)
		n.Met = &met
	}
	return json.Marshal(n)
}

// row2 is row without its method.
type row2 row

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// line is how a table is laid out.
const line = "  %-32s %-8s %9s %9s %9s %8s %8s  %s\n"

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
	fmt.Fprintf(b, line, "", "", "gate", "plain Go", "OpenSSH", "/plain", "/OpenSSH", "aim")
	for _, r := range t.Rows {
		better := "-"
		if r.More {
			better = "+"
		}
		plain, openssh := r.ratios()
		text := fmt.Sprintf(line, r.What, r.Unit+" "+better, number(r.Value[0]), number(r.Value[1]), number(r.Value[2]),
			times(plain), times(openssh), r.aimed())
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
