package sshd

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// aLateRow is a statement that ended.
func aLateRow(sequence int64, f *sqlForm, text, apart, outcome string) *lateRow {
	return &lateRow{form: f, text: text, apart: apart, folds: true, ended: outcome != "",
		Operation: ledger.Operation{ID: string(rune('a' + sequence)), Sequence: sequence, Decision: "allow", Policy: "p", Outcome: outcome}}
}

// What differs in its values alone shares a row, which has them all; what ended otherwise, has not ended, is of
// another policy or form, or would make the row too long, does not.
func TestFold(t *testing.T) {
	one := &sqlForm{text: "select $1", masked: map[string]any{"verb": "SELECT"}}
	two := &sqlForm{text: "select 2", masked: map[string]any{"verb": "SELECT"}}
	bound := func(v string) (string, string) { return "select $1\n-- $1 = " + v, "\n-- $1 = " + v }
	row := func(sequence int64, v, outcome string) *lateRow {
		text, apart := bound(v)
		return aLateRow(sequence, one, text, apart, outcome)
	}
	other := row(9, "'policy'", "SELECT 1")
	other.Policy = "q"
	unknown := row(10, "'***'", "SELECT 1")
	unknown.folds = false
	long := strings.Repeat("x", foldedText-100)
	rows := fold([]*lateRow{
		row(1, "'a'", "SELECT 1"), aLateRow(2, two, "select 2", "", "SELECT 1"), row(3, "'b'\n-- $2 = 'c'", "SELECT 1"), row(4, "'d'", "error 22012"),
		aLateRow(5, two, "select 2", "", "SELECT 1"), row(6, "'e'", ""), row(7, "'"+long+"'", "SELECT 1"), row(8, "'"+long+"'", "SELECT 1"), other, unknown, aLateRow(11, two, "select 3", " 3", "SELECT 1"),
	})
	type got struct {
		sequence, times int64
		text            string
	}
	var all []got
	total := int64(0)
	for _, r := range rows {
		total += max(1, r.Times)
		text := r.Text
		if i := strings.Index(text, "xxx"); i >= 0 {
			text = text[:i]
		}
		all = append(all, got{r.Sequence, r.Times, text})
		if times, ok := r.Facts["times"]; ok != (r.Times > 0) || ok && times != r.Times {
			t.Errorf("#%d says %v times, %d", r.Sequence, times, r.Times)
		}
		if r.Facts["text"] == "" || r.Facts["verb"] != "SELECT" {
			t.Errorf("facts of #%d: %v", r.Sequence, r.Facts)
		}
	}
	mark := show("\n")
	want := []got{
		{1, 2, "select $1" + mark + "-- $1 = 'a' -- #3 $1 = 'b'" + mark + "-- $2 = 'c'"}, {2, 3, "select 2 -- #5 -- #11 3"}, {4, 0, "select $1" + mark + "-- $1 = 'd'"},
		{6, 0, "select $1" + mark + "-- $1 = 'e'"}, {7, 0, "select $1" + mark + "-- $1 = '"}, {8, 0, "select $1" + mark + "-- $1 = '"}, {9, 0, "select $1" + mark + "-- $1 = 'policy'"}, {10, 0, "select $1" + mark + "-- $1 = '***'"},
	}
	if !slices.Equal(all, want) {
		t.Errorf("got\n%+v\nwant\n%+v", all, want)
	}
	if total != 11 {
		t.Errorf("%d operations of 11", total)
	}
	for _, r := range rows {
		if len(r.Text) > ledger.MaxText {
			t.Errorf("#%d has %d bytes", r.Sequence, len(r.Text))
		}
	}
}

// A decision is remembered for what differs in its text alone, while the policies are the same and look at neither the
// text nor the time.
func TestMemo(t *testing.T) {
	const permit = `@id("p") permit (principal, action == Action::"sql:select", resource)`
	set := func(text string) *policies.Set {
		s, err := policies.Parse(policies.Source{Name: "t.cedar", Text: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	facts := map[string]any{"classes": []string{"read"}, "verb": "SELECT", "relations": []string{}, "reads": []string{}, "writes": []string{}, "columns": []string{},
		"functions": []string{}, "unbounded": false, "opaque": false, "why": []string{}, "file": false, "program": false, "database": "d", "login": "l", "source": "127.0.0.1"}
	ask := func(g *Gate, m *Memo, text string) policies.Effect {
		op := Operation{Principal: policies.Principal{Kind: policies.Human, Key: "k", Name: "n"}, Target: policies.Target{Name: "db", Kind: "postgres"},
			Action: "sql:select", Text: text, Facts: facts, Memo: m}
		d := g.remembered(&op)
		if len(d.Errors) > 0 {
			t.Fatal(d.Errors)
		}
		if d.Effect != policies.EffectAllow && op.Facts["text"] != text {
			t.Errorf("an approver would be shown %v", op.Facts)
		}
		return d.Effect
	}
	for _, tt := range []struct {
		name, policy string
		kept         bool
	}{
		{"plain", permit + ";", true},
		{"text", permit + ` unless { context.text like "*secret*" };`, false},
		{"time", permit + ` when { context.now > datetime("2020-01-01") };`, false},
		{"held", `@hold("dba") ` + permit + ";", false},
		{"denied", `@id("f") forbid (principal, action, resource);`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			engine := policies.NewEngine(set(tt.policy))
			g, m := NewGate("g", engine, nil), &Memo{}
			first := ask(g, m, "select 1")
			if kept := m.set != nil; kept != tt.kept {
				t.Errorf("remembered: %v", kept)
			}
			if again := ask(g, m, "select 1"); again != first {
				t.Errorf("decided %v, then %v", first, again)
			}
			if tt.name == "text" && ask(g, m, "select secret") == policies.EffectAllow {
				t.Error("what a policy says of the text was forgotten")
			}
			engine.Swap(set(`@id("f") forbid (principal, action, resource);`))
			if ask(g, m, "select 1") == policies.EffectAllow {
				t.Error("policies that are no longer in force decided")
			}
		})
	}
	roster, err := policies.NewRoster([]policies.Duty{{Group: "dba"}})
	if err != nil {
		t.Fatal(err)
	}
	g, m := NewGate("g", policies.NewEngine(set(permit+";")), nil), &Memo{}
	g.OnCall(roster)
	if ask(g, m, "select 1"); m.set != nil {
		t.Error("remembered, though groups change with the time")
	}
}
