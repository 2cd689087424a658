// Runs @name@ once on an input that is built in and says whether the output is, to the bit,
// what it must be. In a sketch of your own: @use@, read @output@().
#include <@prefix@.h>

#include "self_test.h"

void setup() {
    Serial.begin(115200);
    while (!Serial && millis() < 3000) {
    }
    @prefix@_self_test_load();
    const unsigned long start = micros();
    @call@;
    const unsigned long end = micros();
    const uint32_t wrong = @prefix@_self_test_differences();
    Serial.print("microseconds: ");
    Serial.println(end - start);
    Serial.print("lilliput @name@: ");
    if (wrong == 0) {
        Serial.println("exact");
    } else {
        Serial.print(wrong);
        Serial.println(" bytes differ");
    }
}

void loop() {
}
