package mask

// cryptDetector knows the hashes of passwords in crypt(5) form, as in /etc/shadow.
func cryptDetector() *detector {
	return &detector{
		name: "password-hash", version: 1,
		anchors: []anchor{
			{laneText, [4]*[256]bool{bytesOf("$"), bytesOf("1256y"), bytesOf("$aby"), setAny}},
			{laneText, [4]*[256]bool{bytesOf("$"), bytesOf("ag7"), bytesOf("rpy$"), setAny}},
		},
		keep: bytesOf("$"), find: findCrypt,
	}
}

var cryptBytes = setOf(func(c byte) bool {
	return is(c, clAlnum) || c == '.' || c == '/' || c == '$' || c == '+' || c == '=' || c == ',' || c == '-'
})

// findCrypt looks for $id$...$hash. The id is public.
func findCrypt(w *window, s int) match {
	const most = 256
	b := w.b
	if s < w.floor || s < 1 || isWord(b[s-1]) {
		return match{}
	}
	end, dollars, last, id := s, 0, s, 0
	for end < len(b) && end-s <= most && cryptBytes[b[end]] {
		if b[end] == '$' {
			if dollars++; dollars == 2 {
				id = end
			}
			last = end
		}
		end++
	}
	if dollars < 2 && end-s > 10 {
		return match{}
	}
	show := end
	if dollars >= 2 {
		show = id + 1
	}
	if end == len(b) && end-s <= most && !w.final {
		return undecided(show, show, show)
	}
	for end > s && (b[end-1] == '.' || b[end-1] == ',') && end-last > 60 {
		end--
	}
	if dollars < 3 || !cryptIDs[string(b[s+1:id])] || end-last-1 < 22 || end-s > most {
		return match{}
	}
	return found(show, show, end)
}

var cryptIDs = map[string]bool{
	"1": true, "5": true, "6": true, "y": true, "gy": true, "7": true, "2a": true, "2b": true, "2y": true,
	"argon2i": true, "argon2d": true, "argon2id": true, "apr1": true,
}
