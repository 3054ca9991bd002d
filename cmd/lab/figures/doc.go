// Package figures measures what Orpheus promises, on a lab of real hosts with the to-do application, and gives each figure as a
// row: median, worst, number of runs, and the promise beside it.
//
// A run that could not be measured is no figure: it is told, mended and counted apart, so that it can neither improve a median
// nor hide in one. Every figure puts back what it broke, also when it is interrupted, and can be taken again on the same lab.
package figures
