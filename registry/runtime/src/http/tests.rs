//! Tests of serving over real sockets: what a hostile or clumsy peer gets.
