package mask

import "testing"

func TestFields(t *testing.T) {
	e := engine(t, Config{Fields: []string{"SSN", "home address"}, TokenKey: []byte("0123456789abcdef")})
	for _, r := range []row{
		{`{"ssn":"a\"b","x":"ssn"}`, `{"ssn":"****","x":"ssn"}`},
		{`{"Ssn" : 12.5e3, "home address": "12 Elm"}`, `{"Ssn" : 000000, "home address": "** ***"}`},
		{`{"ssn": null, "ssn": true}`, ""},
		{"name,ssn,x\njane,77,1\n\"a, b\",\"8\"\"8\",2\n", "name,ssn,x\njane,**,1\n\"a, b\",\"****\",2\n"},
		{"name;SSN\r\njane;77 5\r\n\r\nx;y\r\n", "name;SSN\r\njane;** *\r\n\r\nx;y\r\n"},
		{" id | ssn  | home address \n----+------+-----\n  1 | 77   | 12 Elm\n  2 |      | x\n(2 rows)\n1 | 2 | 3\n",
			" id | ssn  | home address \n----+------+-----\n  1 | **   | ** ***\n  2 |      | *\n(2 rows)\n1 | 2 | 3\n"},
		{"a\tssn\temail\n1\t22\tjane@example.com\n", "a\tssn\temail\n1\t**\tj***@*******.***\n"},
		{"email,ssn\njane@example.com,22\n", "email,ssn\nj***@*******.***,**\n"},
		{"no table, but the word ssn\nx,y\n", ""},
		{"ssn,card\n1,4111111111111111", "ssn,card\n*,411111**********"},
	} {
		r.check(t, e, "fields")
	}
}

func TestPatternsAndLiterals(t *testing.T) {
	e := engine(t, Config{
		TokenKey: []byte("0123456789abcdef"),
		Literals: []string{"Project Falcon", "Project", "日本語だ"},
		Patterns: []Pattern{
			{"employee", `\bEMP-\d{6}\b`}, {"case", `(?i)case\s+(?P<secret>[a-z0-9]+)!`}, {"line", `(?m)^SECRET .*$`},
			{"either", `(?:foo|barbaz)[0-9]{3}`}, {"any", `<<[^>]+>>`},
		},
	})
	for _, r := range []row{
		{"x Project Falcon y", "x P****** ****** y"}, {"Projects", "P******s"}, {"日本語だね", "日******ね"},
		{"EMP-123456.", "EMP-******."}, {in: "EMP-1234567"}, {in: "TEMP-123456"}, {in: "EMP-12345"},
		{"see CASE abc12! ok", "see CASE *****! ok"}, {in: "case abc12?"},
		{"a\nSECRET plan b\nc", "a\nSECRET **** *\nc"}, {in: "x SECRET plan"},
		{"foo123 barbaz456", "f***** b********"}, {in: "foo12x"}, {"<<日 本>>x", "<<** ****x"},
	} {
		r.check(t, e, "patterns")
	}
}
