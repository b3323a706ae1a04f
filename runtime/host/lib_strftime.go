package host

import (
	"fmt"
	"strings"
	"time"
)

// plainDates maps directives of strftime to the layouts of package time that give
// the same text in the C locale.
var plainDates = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'h': "Jan",
	'c': "Mon Jan _2 15:04:05 2006", 'D': "01/02/06", 'd': "02", 'e': "_2", 'F': "2006-01-02",
	'H': "15", 'I': "03", 'M': "04", 'm': "01", 'p': "PM", 'R': "15:04", 'r': "03:04:05 PM",
	'S': "05", 'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'Y': "2006", 'y': "06",
	'Z': "MST", 'z': "-0700",
}

// Strftime formats a time like strftime in the C locale. It also knows %f
// (microseconds) and %L (milliseconds).
func Strftime(format string, t time.Time) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		if i < len(format) && (format[i] == 'E' || format[i] == 'O') {
			i++ // forms of other locales
		}
		if i >= len(format) {
			return "", fmt.Errorf("invalid conversion specifier '%%'")
		}
		if layout, ok := plainDates[format[i]]; ok {
			b.WriteString(t.Format(layout))
			continue
		}
		s, ok := dateNumber(format[i], t)
		if !ok {
			return "", fmt.Errorf("invalid conversion specifier '%%%c'", format[i])
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// dateNumber returns the text of a directive that has no layout in plainDates. It
// returns false if c is not a directive.
func dateNumber(c byte, t time.Time) (string, bool) {
	weekYear, week := t.ISOWeek()
	switch c {
	case '%':
		return "%", true
	case 'n':
		return "\n", true
	case 't':
		return "\t", true
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100), true
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000), true
	case 'G':
		return fmt.Sprintf("%d", weekYear), true
	case 'g':
		return fmt.Sprintf("%02d", weekYear%100), true
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay()), true
	case 'k':
		return fmt.Sprintf("%2d", t.Hour()), true
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1), true
	case 'P':
		return t.Format("pm"), true
	case 'L':
		return fmt.Sprintf("%03d", t.Nanosecond()/1e6), true
	case 's':
		return fmt.Sprintf("%d", t.Unix()), true
	case 'u':
		return fmt.Sprintf("%d", (int(t.Weekday())+6)%7+1), true
	case 'U':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7), true
	case 'V':
		return fmt.Sprintf("%02d", week), true
	case 'w':
		return fmt.Sprintf("%d", int(t.Weekday())), true
	case 'W':
		return fmt.Sprintf("%02d", (t.YearDay()+6-(int(t.Weekday())+6)%7)/7), true
	}
	return "", false
}
