package postgres

import (
	"slices"
	"testing"
)

// TestInference finds the protected columns that decide on which rows come back, whatever they are called on the way.
func TestInference(t *testing.T) {
	g := &guard{}
	gt := start(t, `create table cards (id int, number text, holder text, expires date); create table guesses (number text, n int);
		create view renamed as select id, number as pan, upper(number) as loud from cards; create view narrow as select id, holder from cards`, g,
		Protected{"public.cards", "number", "last4"})
	c := gt.connect("")
	for _, tt := range []struct {
		text   string
		infers bool
	}{
		{"select number from cards", false},
		{"select id, number, upper(number), count(*) over () from cards where id = 1 order by holder", false},
		{"select * from cards", false},
		{"select id, holder from narrow where holder > 'a' order by id", false},
		{"select number from cards union all select number from guesses", false},
		{"select id from cards where number like '4%'", true},
		{"select id from cards c where c.number = '4111111111111111'", true},
		{"select id from cards order by number", true},
		{"select id, number from cards order by 2", true},
		{"select count(*) from cards group by number", true},
		{"select number, count(*) from cards group by 1", true},
		{"select count(*) from cards group by grouping sets ((number), ())", true},
		{"select distinct number from cards", true},
		{"select distinct on (number) id from cards", true},
		{"select id from cards group by id having min(number) < '5'", true},
		{"select g.n from cards c join guesses g on g.number = c.number", true},
		{"select n from cards join guesses using (number)", true},
		{"select n from cards natural join guesses", true},
		{"select n from guesses where number in (select number from cards)", true},
		{"select n from guesses g where exists (select from cards c where c.number = g.number)", true},
		{"select number from guesses intersect select number from cards", true},
		{"select number from guesses except select number from cards", true},
		{"select number from guesses union select number from cards", true},
		{"with x as (select id, number as n from cards) select id from x where n like '4%'", true},
		{"with x(a, b) as (select id, number from cards) select a from x where b like '4%'", true},
		{"select id from (select id, substr(number, 1, 1) as s from cards) q where s = '4'", true},
		{"select id from (select id, upper(number) from cards) q where upper = '4'", true},
		{"select id from (select id, case when number like '4%' then 1 end from cards) q where \"case\" = 1", true},
		{"select a from (select id, number from cards) q(a, b) where b < '5'", true},
		{"select id from cards c where c::text like '%4111%'", true},
		{"select id from cards where (cards.*)::text like '%4111%'", true},
		{"select id from renamed where pan like '4%'", true},
		{"select id from renamed where loud like '4%'", true},
		{"select id from cards limit (select length(number) from cards limit 1)", true},
		{"select id, row_number() over (order by number) from cards", true},
		{"select count(*) filter (where number like '4%') from cards", true},
		{"select array_agg(id order by number) from cards", true},
		{"select id from cards, generate_series(1, length(number)) s", true},
		{"delete from cards where number = '1'", true},
		{"update cards set holder = 'x' where number = '1'", true},
		{"update cards set number = 'x' where id = 0", false},
		{"prepare p as select id from cards where number = $1", false},
		{"execute p('4')", true},
		{"explain select id from cards where number = '4'", true},
		{"declare c cursor for select id from cards where number = '4'", true},
	} {
		_, err := c.PgConn().Exec(t.Context(), tt.text).ReadAll()
		if err != nil && code(err) != "25P01" && code(err) != "42883" { // DECLARE wants a block; some compare nonsense
			t.Fatalf("%s: %v", tt.text, err)
		}
		g.mu.Lock()
		infers, _ := g.asked[len(g.asked)-1].Facts["infers"].([]string)
		g.mu.Unlock()
		if found := slices.ContainsFunc(infers, func(c string) bool {
			return c == "public.cards.number" || c == "public.renamed.pan" || c == "public.renamed.loud"
		}); found != tt.infers {
			t.Errorf("%s: %q", tt.text, infers)
		}
	}
}
