package command

import "testing"

func TestDefaultTableReads(t *testing.T) {
	if _, err := NewTable(DefaultSources()...); err != nil {
		t.Fatal(err)
	}
}
