package mask

import (
	"os"
	"strings"
	"testing"
)

// TestTheReadmeNamesEveryDetector: an operator can look up what a hit means.
func TestTheReadmeNamesEveryDetector(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range Detectors() {
		if !strings.Contains(string(text), "`"+d.Name+"`") {
			t.Errorf("%s is not in README.md", d.Name)
		}
	}
}
