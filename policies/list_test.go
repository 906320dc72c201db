package policies

import (
	"strings"
	"testing"
)

// What is listed are the statements as written, each parsable by itself, without the comments of the next.
func TestList(t *testing.T) {
	set, err := Parse(Source{Name: "a.cedar", Text: []byte("// first\n@id(\"one\")\npermit (principal, action, resource); \n\n// about the second\nforbid (principal, action == Action::\"unmask\", resource);\n// the end\n")})
	if err != nil {
		t.Fatal(err)
	}
	all := set.List()
	if len(all) != 2 || all[0].Ref.ID != "one" || strings.Contains(all[0].Text, "second") || !strings.HasSuffix(all[0].Text, ";") || !strings.HasSuffix(all[1].Text, ";") {
		t.Errorf("got %+v", all)
	}
	if (*Set)(nil).List() != nil {
		t.Error("no set lists policies")
	}
}
