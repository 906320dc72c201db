package child

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/sallyport-ssh/sallyport/filters/sql"
)

// words are what texts of the test are made of, in orders that mean something and in others.
var words = strings.Fields(`select insert into update delete from where t u a b . , , ( ) ( ) = < > <= - + * / % and or not in between is null as
	1 2 10 007 999999999 1000000000 1.5 .5 5. 1e5 0x1F 1_000 t1 1t -1 +1 - - /* */ -- ; ; limit 1 offset 5 order by 1 values set a = 1 returning group by 2
	having count ( * ) > 3 case when 1 then 2 else 3 end cast ( 1 as int ) float ( 25 ) numeric ( 10 , 2 ) pg_sleep ( 1 ) fetch first 3 rows only for update
	' " $1 $$ \ :: [ ] ! # ~ é generate_series ( 1 , 5 ) interval array row ( 1 ) exists lateral union all select 7`)

// TestShapes reads texts by their shape and by themselves: whenever a text could have been answered by the shape of
// another, the answer is the same but for where the statement ends.
func TestShapes(t *testing.T) {
	byShape, byText := pool(t, Options{}), pool(t, Options{})
	r := rand.New(rand.NewPCG(1, 2))
	shaped := 0
	number := func() string {
		const digits = "0123456789"
		n := make([]byte, 1+r.IntN(9))
		for i := range n {
			n[i] = digits[r.IntN(10)]
		}
		return string(n)
	}
	check := func(text string) {
		shape, _, ok := sql.Shape(text)
		if !ok {
			return
		}
		// Another text of the same shape, read first.
		var other strings.Builder
		for _, c := range shape {
			if c == '?' {
				other.WriteString(number())
			} else {
				other.WriteRune(c)
			}
		}
		if again, _, _ := sql.Shape(other.String()); again != shape {
			t.Fatalf("%q and %q are of two shapes", text, other.String())
		}
		if _, err := byShape.Read(t.Context(), other.String(), sure); err != nil {
			t.Fatal(err)
		}
		got, err := byShape.Read(t.Context(), text, sure)
		if err != nil {
			t.Fatal(err)
		}
		want, err := byText.ask(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		if want.Syntax != "" && got.Syntax == "" {
			return // the server will say so, whatever was understood of it
		}
		if got.Syntax != "" != (want.Syntax != "") || len(got.Statements) != len(want.Statements) {
			t.Fatalf("%q: %+v, by itself %+v", text, got, want)
		}
		if len(got.Statements) == 1 && got.Statements[0].Like != nil {
			shaped++
			st := got.Statements[0]
			st.Like, st.Numbers = nil, ""
			if !reflect.DeepEqual(st, want.Statements[0]) {
				t.Fatalf("%q, read as %q:\n %+v\nby itself\n %+v", text, other.String(), st, want.Statements[0])
			}
		}
	}
	for _, text := range []string{
		"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;", "select 1", " select 1 ; ", "update t set a = a + 1 where id = 5", "delete from t where 1 = 1",
		"insert into t values (1, 2), (3, 4)", "delete from t where id = 0", "select * from t limit 0", "select float(25)", "copy t to stdout (header 0)", "select 1; select 2",
		"select - -1", "select 1--1", "select 1 -- 1", "select 1/*1*/", "select 2147483648", "select a.1", "select 1a", "fetch 5 from c", "set x = 5", "select set_config(1, 2, 3)",
	} {
		check(text)
	}
	for range 4000 {
		var text strings.Builder
		text.WriteString([]string{"select ", "select * from t where ", "update t set a = ", "delete from t where a = ", "insert into t values (", ""}[r.IntN(6)])
		for range 1 + r.IntN(6) {
			text.WriteString(words[r.IntN(len(words))])
			if r.IntN(4) > 0 {
				text.WriteByte(' ')
			}
		}
		check(text.String())
	}
	if shaped < 200 {
		t.Errorf("only %d texts were read by their shape", shaped)
	}
}
