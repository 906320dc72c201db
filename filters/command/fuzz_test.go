package command

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: whatever the text is, there are facts; they keep the bounds and say why when they are opaque; text that is
// not text is opaque; saying it again gives the same; and wrapping a command never makes it look more harmless.
func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if _, text, ok := strings.Cut(line, " | "); ok {
			f.Add(strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t").Replace(text))
		}
	}
	for _, text := range realSeeds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		facts := Parse(text)
		if facts.Opaque != (len(facts.Why) > 0) {
			t.Errorf("opaque is %v, why is %q", facts.Opaque, facts.Why)
		}
		if len(facts.Programs) > MaxPrograms || len(facts.Why) > maxWhy {
			t.Errorf("%d programs, %d reasons", len(facts.Programs), len(facts.Why))
		}
		if (!utf8.ValidString(text) || strings.Contains(text, "\x00") || len(text) > MaxText) && !facts.Opaque {
			t.Error("not opaque")
		}
		if !reflect.DeepEqual(facts, Parse(text)) {
			t.Error("not the same twice")
		}
		if words, ok := Fields(text); ok && !facts.Opaque && facts.Programs[0].Name == words[0] &&
			!reflect.DeepEqual(append([]string{words[0]}, facts.Programs[0].Args...), words) {
			t.Errorf("Fields %q, program %q", words, facts.Programs[0])
		}
		wrapped(t, facts, text)
		_ = facts.Context()
		_ = ParseLine(text)
	})
}

// wrapped checks that a command handed to a shell by a shell is at least what it is by itself.
func wrapped(t *testing.T, facts *Facts, text string) {
	t.Helper()
	if len(text) > MaxText/8 || strings.Contains(text, "\x00") {
		return
	}
	quoted := "sh -c -- " + quote(text)
	if f := Parse(quoted); !f.Opaque && (facts.Opaque || !f.Classes.Has(facts.Classes)) {
		t.Errorf("by itself %v, opaque %v %q; as %q %v", facts.Classes, facts.Opaque, facts.Why, quoted, f.Classes)
	}
}

// FuzzTable: a table is read or refused, and one that is read can be used.
func FuzzTable(f *testing.F) {
	for _, s := range DefaultSources() {
		for _, row := range strings.SplitAfter(string(s.Text), "\nprogram ") {
			f.Add("program " + strings.TrimSuffix(row, "\nprogram "))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		table, err := NewTable(Source{"t", []byte(text)})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "t:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		for _, name := range table.Programs() {
			table.Parse(name + " -abc --de=f g h -- i > j")
		}
	})
}
