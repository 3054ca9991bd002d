// Package faults holds the tests of what an operator lives through: a server that stays dead, two people who edit one object on two
// sides of a cut, an engine that dies, a disk that is full or rotten, tokens and ports that are wrong. They run on real hosts of
// a lab and judge what was lost and what was said, never how long it took.
package faults
