// Package clock is the time that messages are due by, on a machine whose clock
// may be set while it runs.
//
// A Clock follows the machine's as long as that moves as time does. Where it
// jumps, the Clock goes on as if it hadn't, and believes the jump once it has
// stood for Hold: what a jump that is taken back before that would have brought
// never happens, and one that stays counts a little later.
package clock
