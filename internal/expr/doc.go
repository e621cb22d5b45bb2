// Package expr compiles and evaluates SQL92 property expressions, the filter
// language that RocketMQ consumers subscribe with and that replay filters use.
//
//	amount > 100 AND region IN ('eu', 'us') AND note IS NOT NULL
//
// An expression is parsed once and matched against stored properties as they
// lie in a record, so that a filter costs no decoding and no allocation.
//
// The language is RocketMQ's, and so is what it means:
//
//   - Properties are strings. Compared with an integer a string must be a
//     decimal integer (32 bits where the literal fits in 32), with a
//     floating-point number it must be a number. One that isn't makes the
//     whole expression not match, whatever the rest says.
//   - A missing property is NULL and logic is three-valued; only true matches.
//   - <, <=, >, >= and BETWEEN compare numbers. Two properties compare as
//     floating-point numbers.
//   - IN takes strings. CONTAINS, STARTSWITH and ENDSWITH take a non-empty
//     string literal and are false on NULL, with NOT before them too.
//   - NOT binds tighter than any comparison: write NOT (a = 1).
//
// It differs from RocketMQ in three points, each a refusal or an acceptance
// that a user would call a bug otherwise: text after a complete expression is
// an error (RocketMQ ignores it), 0.0 is a number (RocketMQ refuses it), and
// length and nesting have limits.
//
// Invariant: an Expr is immutable; Match may be called concurrently.
package expr
