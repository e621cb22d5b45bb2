// Package intake bounds the memory of what is being read from clients, over
// every port of the process.
//
// Invariants:
//   - What is small counts nothing: only what a reader needs beyond that takes
//     of the budget, and only for what has arrived or is let come.
//   - Bytes are taken and never waited for, so that readers that each have a part
//     don't wait for each other. Where they are used up, places are waited for,
//     and whoever has one needs nothing more.
//   - Who has taken something goes on at a pace, or ends: see Step.
package intake
