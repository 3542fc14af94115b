// What the pair agree on.

public interface Greeter {
    String greeting();
}
